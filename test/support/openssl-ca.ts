// A CA that the openssl command runs in a folder: certificates, revocation, CRLs and OCSP answers, and a web server on
// loopback that hands them out.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Certificate, parsePemCertificates } from '../../src/smime/certificate.ts';

const CONFIG = `
[ca]
default_ca = main
[main]
dir = .
database = index.txt
new_certs_dir = .
serial = serial
crlnumber = crlnumber
default_md = sha256
default_days = 30
default_crl_days = 7
policy = anything
unique_subject = no
[anything]
commonName = supplied
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
`;

export class OpensslCa {
  readonly folder: string;
  readonly name: string;

  constructor(name: string, parent?: OpensslCa, extensions: readonly string[] = []) {
    this.name = name;
    this.folder = mkdtempSync(join(tmpdir(), 'postern-ca-'));
    this.write('ca.cnf', CONFIG);
    this.write('index.txt', '');
    this.write('serial', '1000\n');
    this.write('crlnumber', '01\n');
    if (!parent) {
      this.run(
        'req',
        '-x509',
        '-config',
        'ca.cnf',
        '-extensions',
        'root',
        '-days',
        '30',
        ...this.#newKey('ca'),
      );
      return;
    }
    const ca = ['basicConstraints=critical,CA:TRUE', 'keyUsage=critical,keyCertSign,cRLSign'];
    const { pem, key } = parent.issue(name, [...ca, 'subjectKeyIdentifier=hash', ...extensions]);
    this.write('ca.crt', pem);
    this.write('ca.key', key);
  }

  get certificate(): Certificate {
    return parsePemCertificates(this.read('ca.crt').toString())[0] as Certificate;
  }

  /** A certificate with these lines of an extension section. */
  issue(name: string, extensions: readonly string[]): { certificate: Certificate; pem: string; key: string } {
    this.write(`${name}.ext`, `${extensions.join('\n')}\n`);
    this.run('req', '-new', '-config', 'ca.cnf', ...this.#newKey(name, 'csr'));
    const files = ['-in', `${name}.csr`, '-out', `${name}.crt`, '-extfile', `${name}.ext`];
    this.run(
      'ca',
      '-config',
      'ca.cnf',
      '-batch',
      '-notext',
      '-cert',
      'ca.crt',
      '-keyfile',
      'ca.key',
      ...files,
    );
    const pem = this.read(`${name}.crt`).toString();
    const certificate = parsePemCertificates(pem)[0] as Certificate;
    return { certificate, pem, key: this.read(`${name}.key`).toString() };
  }

  revoke(name: string, reason = 'keyCompromise'): void {
    const files = ['-cert', 'ca.crt', '-keyfile', 'ca.key', '-revoke', `${name}.crt`];
    this.run('ca', '-config', 'ca.cnf', ...files, '-crl_reason', reason);
  }

  crl(...options: readonly string[]): Buffer {
    this.run(
      'ca',
      '-config',
      'ca.cnf',
      '-cert',
      'ca.crt',
      '-keyfile',
      'ca.key',
      '-gencrl',
      '-out',
      'crl.pem',
      ...options,
    );
    return this.run('crl', '-in', 'crl.pem', '-outform', 'DER');
  }

  /** The answer to a request. `signer`: name of the certificate that signs. */
  ocsp(request: Uint8Array, signer = 'ca', ...options: readonly string[]): Buffer {
    this.write('request.der', request);
    const responder = ['-CA', 'ca.crt', '-rsigner', `${signer}.crt`, '-rkey', `${signer}.key`];
    this.run(
      'ocsp',
      '-index',
      'index.txt',
      '-reqin',
      'request.der',
      '-respout',
      'answer.der',
      ...responder,
      ...options,
    );
    return this.read('answer.der');
  }

  read(name: string): Buffer {
    return readFileSync(join(this.folder, name));
  }

  write(name: string, content: Uint8Array | string): void {
    writeFileSync(join(this.folder, name), content);
  }

  run(...args: readonly string[]): Buffer {
    return execFileSync('openssl', args, {
      cwd: this.folder,
      maxBuffer: 64_000_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }

  #newKey(name: string, ending = 'crt'): readonly string[] {
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`];
    const subject = name === 'ca' ? this.name : name;
    return [...key, '-subj', `/CN=Postern test ${subject}`, '-out', `${name}.${ending}`];
  }
}

type Answer = (body: Buffer) => Uint8Array | { readonly location: string } | undefined;

/** A web server on loopback. Each path has an answer; `undefined` is 503. `asked` counts by path. */
export async function serveWeb() {
  const answers = new Map<string, Answer>();
  const asked = new Map<string, number>();
  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    const path = request.url ?? '';
    asked.set(path, (asked.get(path) ?? 0) + 1);
    const answer = answers.get(path)?.(await bodyOf(request));
    if (answer === undefined) response.writeHead(503).end();
    else if ('location' in answer) response.writeHead(302, { location: answer.location }).end();
    else response.end(answer);
  };
  const server = createServer((request, response) => {
    respond(request, response).catch(() => response.destroy());
  }).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    answers,
    asked,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request as AsyncIterable<Buffer>) parts.push(part);
  return Buffer.concat(parts);
}
