// Preloaded into every test process: a connection to anything but loopback fails. Tests never leave the machine.
import dgram from 'node:dgram';
import net from 'node:net';

const LOOPBACK = /^(127\.|::1$|::ffff:127\.|localhost$)/;

function refuse(target: string): Error {
  return new Error(`the tests may not connect to ${target}: loopback only`);
}

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function connectGuarded(this: net.Socket, ...args: unknown[]) {
  const [first] = Array.isArray(args[0]) ? args[0] : args;
  const options =
    typeof first === 'object' && first !== null ? (first as { host?: string; path?: string }) : undefined;
  const host =
    options?.path === undefined
      ? (options?.host ?? (typeof args[1] === 'string' ? args[1] : 'localhost'))
      : 'localhost';
  if (!LOOPBACK.test(host)) {
    process.nextTick(() => this.destroy(refuse(host)));
    return this;
  }
  return Reflect.apply(connect, this, args) as net.Socket;
} as typeof connect;

const send = dgram.Socket.prototype.send;
dgram.Socket.prototype.send = function sendGuarded(this: dgram.Socket, ...args: unknown[]) {
  const host = args.find((value) => typeof value === 'string' && value.includes('.'));
  if (typeof host === 'string' && !LOOPBACK.test(host)) throw refuse(host);
  return Reflect.apply(send, this, args) as undefined;
} as typeof send;
