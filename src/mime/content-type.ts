// Content-Type and Content-Disposition values (RFC 2045 §5.1, RFC 2183, RFC 2231). Always gives a reading; where other
// programs may read the value in another way, `defects` says so and the caller decides what that means.

export interface ContentType {
  /** Lower case. */
  readonly type: string;
  /** Lower case. */
  readonly subtype: string;
  /** `type/subtype`. */
  readonly mediaType: string;
  /** Names in lower case; continuations joined and percent-encoding decoded (RFC 2231 §3, §4). */
  readonly parameters: ReadonlyMap<string, string>;
  /** Why the value is ambiguous, in words; empty for a well-formed one. */
  readonly defects: readonly string[];
}

export interface Disposition {
  /** Lower case: `inline`, `attachment` or other. */
  readonly kind: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly defects: readonly string[];
}

interface Parameters {
  readonly parameters: ReadonlyMap<string, string>;
  readonly defects: string[];
}

interface Section {
  readonly index: number;
  readonly isEncoded: boolean;
  readonly value: string;
}

const TOKEN = "[!#$%&'*+\\-.^_`{|}~0-9A-Za-z]+";
const MEDIA_TYPE = new RegExp(`^[ \\t]*(${TOKEN})/(${TOKEN})[ \\t]*(?=;|$)`);
const KIND = new RegExp(`^[ \\t]*(${TOKEN})[ \\t]*(?=;|$)`);
const NAME = new RegExp(`[ \\t]*(${TOKEN})[ \\t]*=[ \\t]*`, 'y');
const QUOTED = /"((?:[^"\\\r\n]|\\[^\r\n])*)"[ \t]*(?=;|$)/y;
/** Unquoted values: a token, and the characters that mailers commonly leave unquoted and parsers read alike. */
const BARE = /([^\s;"(),<>\\]+)[ \t]*(?=;|$)/y;
const BROKEN = /[^;]*/y;
const MAX_PARAMETERS = 100;
const MAX_SECTIONS = 100;

/** Parses an unfolded value. Missing, empty and unreadable ones are text/plain in US-ASCII (RFC 2045 §5.2). */
export function parseContentType(value: string | undefined): ContentType {
  const parsed = value === undefined ? null : MEDIA_TYPE.exec(value);
  if (value === undefined || parsed === null) {
    return {
      type: 'text',
      subtype: 'plain',
      mediaType: 'text/plain',
      parameters: new Map([['charset', 'us-ascii']]),
      defects: value === undefined ? [] : ['the media type cannot be read'],
    };
  }
  const type = (parsed[1] ?? '').toLowerCase();
  const subtype = (parsed[2] ?? '').toLowerCase();
  const { parameters, defects } = parseParameters(value, parsed[0].length);
  if (type === 'multipart') defects.push(...boundaryDefects(parameters.get('boundary'), value));
  return { type, subtype, mediaType: `${type}/${subtype}`, parameters, defects };
}

/** Parses an unfolded Content-Disposition. An unreadable kind is `attachment` (RFC 2183 §2.8). */
export function parseDisposition(value: string | undefined): Disposition | undefined {
  if (value === undefined) return undefined;
  const parsed = KIND.exec(value);
  const { parameters, defects } = parseParameters(value, parsed?.[0].length ?? value.indexOf(';'));
  if (parsed === null) defects.push('the disposition cannot be read');
  return { kind: (parsed?.[1] ?? 'attachment').toLowerCase(), parameters, defects };
}

/** Reads `;name=value` pairs from index `from`; -1 means that there are none. */
function parseParameters(value: string, from: number): Parameters {
  const defects: string[] = [];
  const plain = new Map<string, string>();
  const extended = new Map<string, Section[]>();
  let at = from < 0 ? value.length : from;
  for (let count = 0; at < value.length; count += 1) {
    at += 1; // the semicolon
    const pair = readPair(value, at);
    at = pair.end;
    if (count >= MAX_PARAMETERS) return { parameters: plain, defects: [...defects, 'too many parameters'] };
    if (pair.defect !== undefined) defects.push(pair.defect);
    if (pair.name === undefined) continue;
    const parts = /^([^*]+)(?:\*(\d{1,3}))?(\*)?$/.exec(pair.name);
    const isExtended = pair.name.includes('*') && parts !== null;
    if (!isExtended) {
      if (plain.has(pair.name)) defects.push(`parameter ${pair.name} is repeated`);
      else plain.set(pair.name, pair.value);
      continue;
    }
    const sections = extended.get(parts[1] ?? '') ?? [];
    sections.push({ index: Number(parts[2] ?? 0), isEncoded: parts[3] === '*', value: pair.value });
    extended.set(parts[1] ?? '', sections);
  }
  for (const [name, sections] of extended) {
    const joined = joinSections(sections);
    if (joined === undefined) defects.push(`parameter ${name} has sections that do not fit`);
    else plain.set(name, joined);
  }
  return { parameters: plain, defects };
}

function readPair(
  value: string,
  from: number,
): { name?: string; value: string; end: number; defect?: string } {
  const name = matchAt(NAME, value, from);
  if (name === null) {
    const skipped = matchAt(BROKEN, value, from)?.[0] ?? '';
    const end = from + skipped.length;
    // A semicolon after the last parameter is common and read alike everywhere.
    return skipped.trim() === ''
      ? { value: '', end }
      : { value: '', end, defect: 'a parameter cannot be read' };
  }
  const key = (name[1] ?? '').toLowerCase();
  const start = from + name[0].length;
  const quoted = matchAt(QUOTED, value, start);
  if (quoted) {
    return { name: key, value: (quoted[1] ?? '').replace(/\\(.)/g, '$1'), end: start + quoted[0].length };
  }
  const bare = matchAt(BARE, value, start);
  if (bare) return { name: key, value: bare[1] ?? '', end: start + bare[0].length };
  const broken = matchAt(BROKEN, value, start)?.[0] ?? '';
  return {
    name: key,
    value: broken.trim(),
    end: start + broken.length,
    defect: `parameter ${key} is malformed`,
  };
}

/** Joins RFC 2231 sections; undefined where they have gaps or repeat. */
function joinSections(sections: Section[]): string | undefined {
  if (sections.length > MAX_SECTIONS) return undefined;
  const sorted = [...sections].sort((a, b) => a.index - b.index);
  if (sorted.some((section, index) => section.index !== index)) return undefined;
  const first = sorted[0];
  if (first === undefined || !sorted.some((section) => section.isEncoded)) {
    return sorted.map((section) => section.value).join('');
  }
  const [, charset = '', text] = /^([^']*)'[^']*'(.*)$/s.exec(first.value) ?? [];
  const isCharsetKnown = first.isEncoded && text !== undefined;
  const bytes = sorted.map((section, index) => {
    const raw = index === 0 && isCharsetKnown ? text : section.value;
    return section.isEncoded ? percentDecode(raw) : Buffer.from(raw, 'utf8');
  });
  return decodeCharset(Buffer.concat(bytes), isCharsetKnown ? charset : 'utf-8');
}

function percentDecode(text: string): Buffer {
  const parts = text.split(/(%[0-9A-Fa-f]{2})/);
  return Buffer.concat(
    parts.map((part, index) =>
      index % 2 === 1 ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part, 'utf8'),
    ),
  );
}

function decodeCharset(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset || 'utf-8').decode(bytes);
  } catch {
    return bytes.toString('latin1');
  }
}

/** RFC 2046 §5.1.1 with more length, since some mailers need it; what parsers read differently is a defect. */
function boundaryDefects(boundary: string | undefined, value: string): string[] {
  if (boundary === undefined || boundary === '') return ['a multipart without boundary'];
  const defects: string[] = [];
  if (/boundary\*/i.test(value)) defects.push('the boundary is in extended form');
  if (!/^[\x20-\x7e]{1,200}$/.test(boundary)) defects.push('the boundary is too long or not printable');
  if (boundary.endsWith(' ')) defects.push('the boundary ends with a blank');
  if (/=\?[^?]*\?[bq]\?[^?]*\?=/i.test(boundary)) defects.push('the boundary looks like an encoded word');
  return defects;
}

function matchAt(pattern: RegExp, text: string, index: number): RegExpExecArray | null {
  pattern.lastIndex = index;
  return pattern.exec(text);
}
