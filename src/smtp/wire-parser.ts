// The byte side of an SMTP session: command lines, and the content of DATA. It stands in for smtp-server's parser,
// which also ends commands at a bare LF, unstuffs dots behind one, and spends an event-loop turn on each stuffed dot.
/* oxlint-disable no-underscore-dangle -- that is how smtp-server names the members that a subclass or caller needs */
import { PassThrough } from 'node:stream';
import type { SMTPServerDataStream } from 'smtp-server';
import { SMTPStream } from 'smtp-server/lib/smtp-stream';
import { openUnstuffer, type Unstuffed } from './dot-lines.ts';

/** What the session does while content arrives. */
export interface DataPhase {
  /** Bytes of content, also those that nobody reads any more. */
  received(bytes: number): void;
  /** Whether the wait is ours: the reader of the content has not caught up. */
  blocked(isBlocked: boolean): void;
  /** The end of DATA was seen. Nothing more is read before `continue()`. */
  ended(): void;
}

type Next = (error?: Error | null) => void;

const LF = 10;
const NONE = Buffer.alloc(0);
/** Commands run in one go, so that one packet full of them cannot starve other sessions. */
const MAX_RUN = 100;

export class WireParser extends SMTPStream {
  #pending: Buffer = NONE;
  #phase: DataPhase | undefined;
  #unstuff: (chunk: Uint8Array) => Unstuffed = openUnstuffer();
  #resume: (() => void) | undefined;

  /** Whether the client sent more than the command that is being worked on. */
  get hasInput(): boolean {
    return this.#pending.length > 0;
  }

  /** Switches to DATA. The stream ends at the end of DATA and is destroyed when the connection is lost before. */
  openData(phase: DataPhase): SMTPServerDataStream {
    this.#phase = phase;
    this.#unstuff = openUnstuffer();
    const stream = Object.assign(new PassThrough(), { byteLength: 0, sizeExceeded: false });
    stream.on('error', () => undefined);
    this._dataMode = true;
    this._dataStream = stream;
    return stream;
  }

  /** Back to commands, once the reply to the content has been sent. */
  override continue(): void {
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: string, next: Next): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    this.#advance(next);
  }

  /** A command without its line end is not a command. */
  override _flushData(): void {
    this.#pending = NONE;
  }

  #advance(next: Next): void {
    for (let run = 0; run < MAX_RUN; run += 1) {
      if (this.isClosed) {
        this.#pending = NONE;
        return next();
      }
      if (this._dataMode) return this.#readData(next);
      const end = this.#pending.indexOf(LF);
      const length = end < 0 ? this.#pending.length : end;
      if (length > this._maxCommandLength) return next(new Error('Command line is too long'));
      if (end < 0) return next();
      const line = this.#pending.subarray(0, end + 1);
      this.#pending = this.#pending.subarray(end + 1);
      if (!this.#runCommand(line, next)) return;
    }
    setImmediate(() => this.#advance(next));
  }

  /** Whether the command was done at once; otherwise reading goes on when it is. */
  #runCommand(line: Buffer, next: Next): boolean {
    let isDone = false;
    let isWaiting = false;
    this.oncommand(line, () => {
      isDone = true;
      if (isWaiting) this.#advance(next);
    });
    isWaiting = true;
    return isDone;
  }

  #readData(next: Next): void {
    const stream = this._dataStream;
    const phase = this.#phase;
    if (stream === null || phase === undefined) return next();
    const { content, rest } = this.#unstuff(this.#pending);
    this.#pending = rest ?? NONE;
    this.dataBytes += content.length;
    phase.received(content.length);
    const isFull = content.length > 0 && stream.writable && !stream.write(content);
    if (rest !== undefined) {
      this._dataMode = false;
      this._dataStream = null;
      this.#phase = undefined;
      this.#resume = () => this.#advance(next);
      stream.end();
      phase.ended();
    } else if (isFull && !stream.destroyed) {
      phase.blocked(true);
      whenDrained(stream, () => {
        phase.blocked(false);
        next();
      });
    } else {
      next();
    }
  }
}

/** A destroyed stream never drains, it only closes. */
function whenDrained(stream: PassThrough, run: () => void): void {
  const once = () => {
    stream.off('drain', once);
    stream.off('close', once);
    run();
  };
  stream.once('drain', once);
  stream.once('close', once);
}
