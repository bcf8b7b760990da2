// The control socket: the command line's way to the stores of a running gateway, since one process owns them. HTTP over
// a Unix socket that only the gateway's user may open; POST /<operation> with a JSON array of arguments.
import { rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { asGatewayError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Operations } from '../operations.ts';

const MAX_REQUEST_BYTES = 65_536;

/** Serves the operations on `socketPath` (removed first: the owner lock of the data folder is already ours). */
export async function openControlServer(
  socketPath: string,
  operations: Operations,
  log: Log,
): Promise<AsyncDisposable> {
  await rm(socketPath, { force: true });
  const server = createServer((request, response) => {
    answer(operations, request, response).catch((error: unknown) => {
      log.error('control-failed', { reason: asGatewayError(error).message });
      response.destroy();
    });
  });
  await listen(server, socketPath);
  return {
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // SECURITY: the socket is born with the umask, never open for a moment.
    const mask = process.umask(0o177);
    server.listen(path, () => resolve());
    process.umask(mask);
  });
}

async function answer(
  operations: Operations,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const name = (request.url ?? '').slice(1);
  if (request.method !== 'POST' || !Object.hasOwn(operations, name)) {
    send(response, 404, { error: { code: 'config-invalid', reason: `no operation ${name}` } });
    return;
  }
  try {
    const args = JSON.parse(await readBody(request)) as readonly string[];
    if (!Array.isArray(args) || !args.every((argument) => typeof argument === 'string'))
      throw new Error('arguments are strings');
    const operation = operations[name as keyof Operations] as (
      ...given: readonly string[]
    ) => Promise<unknown>;
    send(response, 200, { result: (await operation(...args)) ?? null });
  } catch (error) {
    const { code, message } = asGatewayError(error);
    send(response, 400, { error: { code, reason: message } });
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_REQUEST_BYTES) throw new Error('request is too large');
    parts.push(chunk);
  }
  return Buffer.concat(parts).toString('utf8');
}

function send(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify(body));
}
