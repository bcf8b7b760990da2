// Preloaded into every test process: a connection to anything but loopback fails. Tests never leave the machine.
import dgram from 'node:dgram';
import net from 'node:net';

const LOOPBACK = /^(127\.|::1$|::ffff:127\.|localhost$)/;

function refuse(target: string): Error {
  return new Error(`the tests may not connect to ${target}: loopback only`);
}

type Connect = (this: net.Socket, ...args: readonly unknown[]) => net.Socket;
type Send = (this: dgram.Socket, ...args: readonly unknown[]) => void;

const connect = net.Socket.prototype.connect as Connect;
const connectGuarded: Connect = function (...args) {
  const given: readonly unknown[] = Array.isArray(args[0]) ? args[0] : args;
  const host = hostOf(given);
  if (LOOPBACK.test(host)) return connect.apply(this, [...args]);
  process.nextTick(() => this.destroy(refuse(host)));
  return this;
};
net.Socket.prototype.connect = connectGuarded;

const send = dgram.Socket.prototype.send as Send;
const sendGuarded: Send = function (...args) {
  const host = args.find((value) => typeof value === 'string' && value.includes('.'));
  if (typeof host === 'string' && !LOOPBACK.test(host)) throw refuse(host);
  send.apply(this, [...args]);
};
dgram.Socket.prototype.send = sendGuarded;

/** Node's own forms of the arguments: options, or port and host; a path is a Unix socket. */
function hostOf([first, second]: readonly unknown[]): string {
  if (typeof first === 'object' && first !== null) {
    const { host, path } = first as { readonly host?: string; readonly path?: string };
    return path === undefined ? (host ?? 'localhost') : 'localhost';
  }
  return typeof second === 'string' ? second : 'localhost';
}
