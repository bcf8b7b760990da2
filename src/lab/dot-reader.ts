// The receiving side of DATA (RFC 5321 §4.5.2): finds the end, takes the stuffed dots out, and notes what a strict
// receiver would complain about. Only CRLF "." CRLF ends the data.

/** What the sender's side did on the wire. All counts are 0 or more; a good client has only `stuffedLines`. */
export interface WireFacts {
  /** Bytes of the message, dots taken out. */
  readonly bytes: number;
  readonly lines: number;
  /** Lines that began with two dots, as they must where the message's line begins with one. */
  readonly stuffedLines: number;
  /** Lines that began with one dot and went on: the client forgot to stuff, the dot is lost. */
  readonly unstuffedLines: number;
  readonly bareLineFeeds: number;
  readonly bareCarriageReturns: number;
  /** Longest line without its line end, in octets. */
  readonly longestLine: number;
}

const CR = 13;
const LF = 10;
const DOT = 46;
const LINE_END_DOT = Buffer.from('\r\n.');
const CRLF = Buffer.from('\r\n');

export class DotReader {
  /** Bytes whose meaning depends on what follows. The reply 354 counts as a line end before the first byte. */
  #held: Buffer = CRLF;
  #isFirst = true;
  #lineOctets = 0;
  #last = LF;
  #facts = { bytes: 0, lines: 0, stuffedLines: 0, unstuffedLines: 0 };
  #bareLineFeeds = 0;
  #bareCarriageReturns = 0;
  #longestLine = 0;

  get facts(): WireFacts {
    return {
      ...this.#facts,
      bareLineFeeds: this.#bareLineFeeds,
      bareCarriageReturns: this.#bareCarriageReturns,
      longestLine: this.#longestLine,
    };
  }

  /** Takes one chunk. `rest` is set once the end was found: the bytes behind it. */
  read(chunk: Buffer): { readonly data: readonly Buffer[]; readonly rest?: Buffer } {
    const bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk]);
    const data: Buffer[] = [];
    let from = 0;
    for (let at = bytes.indexOf(LINE_END_DOT); at >= 0; at = bytes.indexOf(LINE_END_DOT, from)) {
      const next = bytes.subarray(at + 3, at + 5);
      if (next.length < 2 && CRLF.subarray(0, next.length).equals(next)) break;
      this.#emit(data, bytes.subarray(from, at + 2));
      if (next.equals(CRLF)) {
        this.#held = Buffer.alloc(0);
        return { data, rest: bytes.subarray(at + 5) };
      }
      if (next[0] === DOT) this.#facts.stuffedLines += 1;
      else this.#facts.unstuffedLines += 1;
      from = at + 3;
    }
    const keep = heldLength(bytes.subarray(from));
    this.#emit(data, bytes.subarray(from, bytes.length - keep));
    this.#held = Buffer.from(bytes.subarray(bytes.length - keep));
    return { data };
  }

  #emit(data: Buffer[], bytes: Buffer): void {
    if (bytes.length === 0) return;
    const own = this.#isFirst ? bytes.subarray(2) : bytes;
    this.#isFirst = false;
    if (own.length === 0) return;
    this.#facts.bytes += own.length;
    this.#count(own);
    data.push(own);
  }

  #count(bytes: Buffer): void {
    let start = 0;
    for (let at = bytes.indexOf(LF); at >= 0; at = bytes.indexOf(LF, start)) {
      const isBare = (at === 0 ? this.#last : bytes[at - 1]) !== CR;
      if (isBare) this.#bareLineFeeds += 1;
      const octets = this.#lineOctets + at - start - (isBare ? 0 : 1);
      this.#longestLine = Math.max(this.#longestLine, octets);
      this.#lineOctets = 0;
      this.#facts.lines += 1;
      start = at + 1;
    }
    this.#lineOctets += bytes.length - start;
    if (this.#last === CR && bytes[0] !== LF) this.#bareCarriageReturns += 1;
    for (let at = bytes.indexOf(CR); at >= 0 && at < bytes.length - 1; at = bytes.indexOf(CR, at + 1)) {
      if (bytes[at + 1] !== LF) this.#bareCarriageReturns += 1;
    }
    this.#last = bytes[bytes.length - 1] ?? this.#last;
  }
}

/** How many of the last bytes may be the beginning of CRLF "." CRLF. */
function heldLength(bytes: Buffer): number {
  for (const length of [4, 3, 2, 1]) {
    const tail = bytes.subarray(Math.max(0, bytes.length - length));
    if (tail.length === length && Buffer.from('\r\n.\r\n').subarray(0, length).equals(tail)) return length;
  }
  return 0;
}
