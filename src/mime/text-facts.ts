// What must be known of a text before it is signed or sent: 8-bit bytes, line lengths, and whatever old relays change.
import { isAscii } from 'node:buffer';
import { type Chunks } from '../core/bytes.ts';
import { type LineBytes, lineBytesOf, nextLineByte } from './line-bytes.ts';

export interface TextFacts {
  readonly is8bit: boolean;
  /** Longest line in octets, without its line end. */
  readonly maxLineOctets: number;
  /** A line ends with a blank or tab, or the text does. */
  readonly hasTrailingBlanks: boolean;
  /** A line starts with `From `, which mbox writers change. */
  readonly hasFromLine: boolean;
  /** A CR or LF that is not part of a CRLF, or a NUL. */
  readonly hasBareLineEnd: boolean;
}

export interface TextMeter {
  add(bytes: Uint8Array): void;
  /** Facts of what was added, as if the text ended here. */
  facts(): TextFacts;
}

const CR = 13;
const LF = 10;
const FROM = Buffer.from('From ');

/** Facts of a whole stream. */
export async function scanText(chunks: Chunks): Promise<TextFacts> {
  const meter = createTextMeter();
  for await (const chunk of chunks) meter.add(chunk);
  return meter.facts();
}

/** Gathers facts piece by piece; pieces may be cut anywhere. */
export function createTextMeter(): TextMeter {
  const state: MeterState = {
    is8bit: false,
    octets: 0,
    maxLineOctets: 0,
    fromOctets: 0,
    last: LF,
    hasTrailingBlanks: false,
    hasFromLine: false,
    hasBareLineEnd: false,
  };
  return { add: (bytes) => measure(state, bytes), facts: () => factsOf(state) };
}

interface MeterState {
  is8bit: boolean;
  /** In the current line, without the CR of its end. */
  octets: number;
  maxLineOctets: number;
  /** How many bytes of `From ` the current line started with. */
  fromOctets: number;
  last: number;
  hasTrailingBlanks: boolean;
  hasFromLine: boolean;
  hasBareLineEnd: boolean;
}

function measure(state: MeterState, bytes: Uint8Array): void {
  state.is8bit ||= !isAscii(bytes);
  const lines = lineBytesOf(bytes);
  for (let at = 0; at < bytes.length;) {
    at = measureCleanLines(state, lines, at);
    const start = at;
    at = nextLineByte(lines, at);
    if (at > start) measureRun(state, bytes, start, at);
    if (at === bytes.length) return;
    measureControl(state, bytes[at] as number);
    at += 1;
  }
}

/** Passes over whole lines that have nothing to them but a length: most lines. Returns where the first other one starts. */
function measureCleanLines(state: MeterState, lines: LineBytes, from: number): number {
  if (state.octets > 0 || state.last !== LF) return from;
  const { bytes } = lines;
  let longest = state.maxLineOctets;
  let at = from;
  for (;;) {
    const end = nextLineByte(lines, at);
    if (bytes[end] !== CR || bytes[end + 1] !== LF || bytes[at] === FROM[0]) break;
    if (end > at && isBlank(bytes[end - 1] as number)) break;
    if (end - at > longest) longest = end - at;
    at = end + 2;
  }
  state.maxLineOctets = longest;
  return at;
}

/** Bytes that are no control characters of interest. */
function measureRun(state: MeterState, bytes: Uint8Array, start: number, end: number): void {
  if (state.last === CR) state.hasBareLineEnd = true;
  for (let at = start; at < end && state.fromOctets === state.octets + at - start; at += 1) {
    if (bytes[at] !== FROM[state.fromOctets]) break;
    state.fromOctets += 1;
    if (state.fromOctets === FROM.length) state.hasFromLine = true;
  }
  state.octets += end - start;
  state.last = bytes[end - 1] as number;
}

function measureControl(state: MeterState, byte: number): void {
  const { last } = state;
  state.last = byte;
  if (byte === 0 || (last === CR && byte !== LF) || (byte === LF && last !== CR)) state.hasBareLineEnd = true;
  if ((byte === CR || byte === LF) && isBlank(last)) state.hasTrailingBlanks = true;
  if (byte === CR) return;
  if (byte !== LF) {
    state.octets += 1;
    return;
  }
  state.maxLineOctets = Math.max(state.maxLineOctets, state.octets);
  state.octets = 0;
  state.fromOctets = 0;
}

function factsOf(state: MeterState): TextFacts {
  return {
    is8bit: state.is8bit,
    maxLineOctets: Math.max(state.maxLineOctets, state.octets),
    hasTrailingBlanks: state.hasTrailingBlanks || isBlank(state.last),
    hasFromLine: state.hasFromLine,
    hasBareLineEnd: state.hasBareLineEnd || state.last === CR,
  };
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09;
}
