// A streaming reader of BER (X.690 §8) for CMS: content of any length passes through, only heads are held. Definite,
// indefinite and constructed forms, bounded in depth, count and size. Whole heads go on to der.ts.
import type { Chunks } from '../core/bytes.ts';

export interface BerLimits {
  /** Containers that are open at once, pieces of nested OCTET STRINGs included. */
  readonly maxDepth: number;
  /** Elements read or skipped in one structure. */
  readonly maxElements: number;
  /** Largest element that `element` holds, in bytes. */
  readonly maxElementBytes: number;
}

/** What stands before an element: identifier octet and length; an indefinite length is undefined. */
export interface BerHeader {
  readonly identifier: number;
  readonly length: number | undefined;
}

/** The bytes are not the BER that was expected. The message is for the log and holds no content. */
export class BerError extends Error {
  override readonly name = 'BerError';
}

// A message of 150 MiB in pieces of 1,000 octets has 160,000 elements; real heads have a few thousand.
export const berLimits: BerLimits = { maxDepth: 24, maxElements: 2_000_000, maxElementBytes: 262_144 };

const CONSTRUCTED = 0x20;
const MAX_LENGTH_OCTETS = 6;
const GATHER_BYTES = 65_536;
const EMPTY = Buffer.alloc(0);

interface ReadHeader extends BerHeader {
  /** Octets of the header itself. */
  readonly size: number;
}

/** Reads one BER structure element by element. Dispose it: the source is then closed. */
export class BerReader implements AsyncDisposable {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #limits: BerLimits;
  /** End offset of each open container; undefined: indefinite length. */
  readonly #ends: (number | undefined)[] = [];
  #buffer: Buffer = EMPTY;
  #at = 0;
  #bufferOffset = 0;
  #elements = 0;
  #isSourceDone = false;

  constructor(source: Chunks, limits: BerLimits = berLimits) {
    this.#source = source[Symbol.asyncIterator]();
    this.#limits = limits;
  }

  /** The next element of the open container, not consumed; undefined at the container's end. */
  async peek(): Promise<BerHeader | undefined> {
    return this.#next();
  }

  /** Whether the next element has this identifier octet. */
  async isNext(identifier: number): Promise<boolean> {
    return (await this.#next())?.identifier === identifier;
  }

  /** Opens a constructed element, which must have this identifier octet. */
  async enter(identifier: number): Promise<void> {
    const header = await this.#next();
    if (header?.identifier !== identifier) throw new BerError('an element is missing or of another type');
    this.#open(header);
  }

  /** Closes the open container, which must have no more elements. */
  async leave(): Promise<void> {
    if ((await this.#next()) !== undefined) throw new BerError('a container has more elements than expected');
    await this.#close();
  }

  /** The next element with its header, as it stands. Bounded by `maxElementBytes`. */
  async element(): Promise<Buffer> {
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of this.#whole()) {
      size += part.length;
      if (size > this.#limits.maxElementBytes) throw new BerError('an element is too large');
      parts.push(part);
    }
    return Buffer.concat(parts, size);
  }

  /** Passes over the next element without holding it. SECURITY: millions of elements cost no more than their bytes. */
  async skip(): Promise<void> {
    const base = this.#ends.length;
    do {
      const header = this.#tryNext() ?? (await this.#next());
      if (header === undefined) {
        if (this.#ends.length === base) throw new BerError('an element is missing');
        await this.#close();
      } else if (header.length === undefined) {
        this.#open(header);
      } else {
        this.#accept(header);
        if (this.#available() >= header.length) this.#consume(header.length);
        else for await (const part of this.#take(header.length)) void part;
      }
    } while (this.#ends.length > base);
  }

  /**
   * Content of the next element: an OCTET STRING with this primitive identifier octet, or its constructed form with
   * any nesting. Small pieces are joined. Read it to its end before anything else.
   */
  async *octets(primitive: number): AsyncGenerator<Uint8Array, void> {
    const header = await this.#next();
    if (header?.identifier === primitive) {
      this.#accept(header);
      yield* this.#take(header.length ?? 0);
      return;
    }
    if (header?.identifier !== (primitive | CONSTRUCTED)) throw new BerError('an octet string is missing');
    const base = this.#ends.length;
    this.#open(header);
    yield* this.#pieces(base);
  }

  /** Requires that the structure is complete and nothing stands behind it. */
  async end(): Promise<void> {
    if (this.#ends.length > 0) throw new BerError('the structure is not complete');
    if (await this.#has(1)) throw new BerError('bytes after the end of the structure');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#source.return?.();
  }

  async *#pieces(base: number): AsyncGenerator<Uint8Array, void> {
    let joined = Buffer.allocUnsafe(GATHER_BYTES);
    let size = 0;
    while (this.#ends.length > base) {
      const header = this.#tryNext() ?? (await this.#next());
      if (header === undefined) {
        await this.#close();
        continue;
      }
      if (header.identifier === (0x04 | CONSTRUCTED)) {
        this.#open(header);
        continue;
      }
      if (header.identifier !== 0x04) throw new BerError('an octet string has a piece of another type');
      this.#accept(header);
      const length = header.length ?? 0;
      if (length <= GATHER_BYTES - size && this.#available() >= length) {
        size += this.#buffer.copy(joined, size, this.#at, this.#at + length);
        this.#consume(length);
        continue;
      }
      if (size > 0) yield joined.subarray(0, size);
      joined = Buffer.allocUnsafe(GATHER_BYTES);
      size = 0;
      yield* this.#take(length);
    }
    if (size > 0) yield joined.subarray(0, size);
  }

  async *#whole(): AsyncGenerator<Uint8Array, void> {
    const base = this.#ends.length;
    do {
      const header = await this.#next();
      if (header === undefined) {
        if (this.#ends.length === base) throw new BerError('an element is missing');
        if (this.#ends.at(-1) === undefined) yield Buffer.alloc(2);
        await this.#close();
        continue;
      }
      yield Buffer.from(this.#buffer.subarray(this.#at, this.#at + header.size));
      if (header.length === undefined) this.#open(header);
      else {
        this.#accept(header);
        yield* this.#take(header.length);
      }
    } while (this.#ends.length > base);
  }

  async *#take(length: number): AsyncGenerator<Uint8Array, void> {
    for (let left = length; left > 0;) {
      if (!(await this.#has(1))) throw new BerError('the structure is cut off');
      const size = Math.min(left, this.#available());
      const part = this.#buffer.subarray(this.#at, this.#at + size);
      this.#consume(size);
      left -= size;
      yield part;
    }
  }

  #open(header: ReadHeader): void {
    if ((header.identifier & CONSTRUCTED) === 0)
      throw new BerError('a primitive element where a container is expected');
    if (this.#ends.length >= this.#limits.maxDepth) throw new BerError('the structure is nested too deeply');
    this.#accept(header);
    this.#ends.push(header.length === undefined ? undefined : this.#offset() + header.length);
  }

  async #close(): Promise<void> {
    if (this.#ends.at(-1) === undefined) {
      if (!(await this.#has(2))) throw new BerError('the structure is cut off');
      this.#consume(2);
    }
    this.#ends.pop();
  }

  async #next(): Promise<ReadHeader | undefined> {
    for (;;) {
      if (this.#isAtEnd()) return undefined;
      const header = this.#tryNext();
      if (header) return header;
      if (!(await this.#fill())) throw new BerError('the structure is cut off');
    }
  }

  /** The next header from what is in the buffer; undefined at the container's end, or if more bytes are needed. */
  #tryNext(): ReadHeader | undefined {
    if (this.#available() < 2 || this.#isAtEnd()) return undefined;
    const identifier = this.#buffer[this.#at] ?? 0;
    const first = this.#buffer[this.#at + 1] ?? 0;
    if (identifier === 0) throw new BerError('an end mark where an element is expected');
    if ((identifier & 0x1f) === 0x1f) throw new BerError('a tag of several octets');
    const octets = first > 0x80 ? first & 0x7f : 0;
    if (octets > MAX_LENGTH_OCTETS) throw new BerError('a length is out of range');
    const size = 2 + octets;
    if (this.#available() < size) return undefined;
    const length = octets === 0 ? first : this.#buffer.readUIntBE(this.#at + 2, octets);
    return this.#checked(identifier, first === 0x80 ? undefined : length, size);
  }

  #checked(identifier: number, length: number | undefined, size: number): ReadHeader {
    if (length === undefined && (identifier & CONSTRUCTED) === 0)
      throw new BerError('an indefinite primitive element');
    const end = this.#offset() + size + (length ?? 0);
    const container = this.#ends.findLast((offset) => offset !== undefined);
    if (container !== undefined && end > container)
      throw new BerError('an element is longer than its container');
    return { identifier, length, size };
  }

  #isAtEnd(): boolean {
    if (this.#ends.length === 0) return false;
    const end = this.#ends.at(-1);
    if (end !== undefined) return this.#offset() >= end;
    return this.#available() >= 2 && this.#buffer[this.#at] === 0 && this.#buffer[this.#at + 1] === 0;
  }

  #offset(): number {
    return this.#bufferOffset + this.#at;
  }

  #available(): number {
    return this.#buffer.length - this.#at;
  }

  #accept(header: ReadHeader): void {
    this.#elements += 1;
    if (this.#elements > this.#limits.maxElements) throw new BerError('the structure has too many elements');
    this.#consume(header.size);
  }

  #consume(size: number): void {
    this.#at += size;
  }

  async #has(size: number): Promise<boolean> {
    while (this.#available() < size) if (!(await this.#fill())) return false;
    return true;
  }

  async #fill(): Promise<boolean> {
    if (this.#isSourceDone) return false;
    const next = await this.#source.next();
    if (next.done) {
      this.#isSourceDone = true;
      return false;
    }
    const left = this.#buffer.subarray(this.#at);
    this.#bufferOffset += this.#at;
    this.#at = 0;
    const chunk = Buffer.from(next.value.buffer, next.value.byteOffset, next.value.byteLength);
    this.#buffer = left.length === 0 ? chunk : Buffer.concat([left, chunk]);
    return true;
  }
}
