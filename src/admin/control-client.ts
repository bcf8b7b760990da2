// The other end of the control socket: the same operations, carried out by the running gateway.
import { request } from 'node:http';
import { type ErrorCode, errorTable, GatewayError } from '../core/errors.ts';
import type { Operations } from '../operations.ts';

/** The operations of the gateway behind `socketPath`, or undefined where none is running. */
export async function connectControl(socketPath: string): Promise<Operations | undefined> {
  const call =
    (name: string) =>
    (...args: readonly string[]) =>
      post(socketPath, name, args);
  const operations = new Proxy({} as Operations, {
    get: (_, name) => (name === 'then' ? undefined : call(String(name))),
  });
  try {
    await operations.status();
    return operations;
  } catch (error) {
    if (isNobodyThere(error)) return undefined;
    throw error;
  }
}

function isNobodyThere(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTSOCK';
}

function post(socketPath: string, name: string, args: readonly string[]): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ socketPath, path: `/${name}`, method: 'POST' }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      response.on('error', reject);
      response.on('end', () => {
        try {
          resolve(readAnswer(Buffer.concat(parts).toString('utf8')));
        } catch (error) {
          reject(error);
        }
      });
    });
    outgoing.on('error', reject);
    outgoing.end(JSON.stringify(args));
  });
}

function readAnswer(text: string): unknown {
  const answer = JSON.parse(text) as { result?: unknown; error?: { code: string; reason: string } };
  if (!answer.error) return answer.result;
  const { code, reason } = answer.error;
  throw new GatewayError(Object.hasOwn(errorTable, code) ? (code as ErrorCode) : 'unplanned', reason);
}
