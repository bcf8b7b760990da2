// One SMTP connection as lines and chunks, for the lab's own client and server. Both are written from RFC 5321 and share
// nothing with src/smtp, so that a fault of the gateway's side cannot hide behind the same fault here.
import type { Socket } from 'node:net';

const LF = 10;
const MAX_LINE_OCTETS = 65_536;

/** A socket read on demand. Reading returns undefined once the other side is gone, for whatever reason. */
export class Wire {
  #socket: Socket;
  #pending: Buffer = Buffer.alloc(0);
  #isGone = false;
  #isTimedOut = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    this.#watch();
  }

  get socket(): Socket {
    return this.#socket;
  }

  /** Bytes that arrived behind the last line or chunk that was read. */
  get hasPending(): boolean {
    return this.#pending.length > 0;
  }

  /** Goes on over another socket (after STARTTLS). What was read ahead in clear is thrown away (RFC 3207 §4.2). */
  replace(socket: Socket): void {
    this.#socket = socket;
    this.#pending = Buffer.alloc(0);
    this.#watch();
  }

  async readChunk(): Promise<Buffer | undefined> {
    if (this.#pending.length > 0) return this.#take(this.#pending.length);
    for (;;) {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk) return chunk;
      if (this.#isGone || this.#socket.readableEnded || this.#socket.destroyed) return undefined;
      await this.#news();
    }
  }

  /** Undefined where the other side goes away before. */
  async readExactly(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for (let left = count; left > 0;) {
      const chunk = await this.readChunk();
      if (!chunk) return undefined;
      parts.push(chunk.subarray(0, left));
      if (chunk.length > left) this.unread(chunk.subarray(left));
      left -= Math.min(chunk.length, left);
    }
    return Buffer.concat(parts);
  }

  /** Gives bytes back that belong to what comes next. */
  unread(bytes: Buffer): void {
    this.#pending = this.#pending.length === 0 ? bytes : Buffer.concat([bytes, this.#pending]);
  }

  /** The next line without its line end, as UTF-8. */
  async readLine(): Promise<string | undefined> {
    for (let from = 0; ;) {
      const end = this.#pending.indexOf(LF, from);
      if (end >= 0)
        return this.#take(end + 1)
          .toString('utf8')
          .replace(/\r?\n$/, '');
      from = this.#pending.length;
      if (from > MAX_LINE_OCTETS) return undefined;
      const pending = this.#take(from);
      const more = await this.readChunk();
      if (!more) return undefined;
      this.#pending = from === 0 ? more : Buffer.concat([pending, more]);
    }
  }

  /** Writes, and waits where the other side reads slowly. Writing to a closed connection is no error here. */
  async write(bytes: Uint8Array | string): Promise<void> {
    if (this.#isGone || !this.#socket.writable) return;
    if (!this.#socket.write(bytes)) await this.#news('drain');
  }

  destroy(): void {
    this.#socket.destroy();
  }

  /** Ends the connection because the other side was silent for too long. */
  giveUp(): void {
    this.#isTimedOut = true;
    this.#socket.destroy();
  }

  get isTimedOut(): boolean {
    return this.#isTimedOut;
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return taken;
  }

  #watch(): void {
    const socket = this.#socket;
    const gone = (): void => {
      if (socket === this.#socket) this.#isGone = true;
    };
    socket.on('close', gone);
    // A reset is how the other side went away; 'close' follows.
    socket.on('error', () => {});
  }

  /** Resolves at the event, or once the connection has ended: the caller's loop looks at the socket itself. */
  #news(event: 'readable' | 'drain' = 'readable'): Promise<void> {
    const socket = this.#socket;
    const events = event === 'readable' ? [event, 'end', 'close'] : [event, 'close'];
    return new Promise((resolve) => {
      const done = (): void => {
        for (const name of events) socket.off(name, done);
        resolve();
      };
      for (const name of events) socket.on(name, done);
    });
  }
}
