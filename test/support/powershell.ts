// Enough of PowerShell's lexer to see that a script is whole: strings, comments, variables and brackets, by the rules of
// the language for quotes. Throws where a string or bracket stays open, or something outside ASCII is in the way.
const OPEN: Readonly<Record<string, string>> = { '(': ')', '{': '}', '[': ']' };
const SINGLE_QUOTES = "'\u2018\u2019\u201a\u201b";
const DOUBLE_QUOTES = '"\u201c\u201d\u201e';

export interface PowerShellToken {
  readonly kind: 'string' | 'expandable' | 'comment' | 'bracket' | 'word';
  /** Of a string, its value. */
  readonly text: string;
}

/** The tokens, with brackets checked for balance. */
export function tokenize(script: string): readonly PowerShellToken[] {
  const tokens: PowerShellToken[] = [];
  const open: string[] = [];
  let at = 0;
  while (at < script.length) {
    const char = script[at] ?? '';
    if (/\s/.test(char)) {
      at += 1;
    } else if (char === '#') {
      const end = script.slice(at).search(/[\r\n]/);
      const text = end < 0 ? script.slice(at) : script.slice(at, at + end);
      tokens.push({ kind: 'comment', text });
      at += text.length;
    } else if (SINGLE_QUOTES.includes(char) || DOUBLE_QUOTES.includes(char)) {
      const isSingle = SINGLE_QUOTES.includes(char);
      const { text, length } = readString(script, at, isSingle ? SINGLE_QUOTES : DOUBLE_QUOTES, !isSingle);
      tokens.push({ kind: isSingle ? 'string' : 'expandable', text });
      at += length;
    } else if (char in OPEN || Object.values(OPEN).includes(char)) {
      if (char in OPEN) open.push(OPEN[char] ?? '');
      else if (open.pop() !== char) throw new Error(`unexpected ${char} at ${lineOf(script, at)}`);
      tokens.push({ kind: 'bracket', text: char });
      at += 1;
    } else {
      const [text = char] = /^[^\s'"#(){}[\]\u2018-\u201e]+/.exec(script.slice(at)) ?? [];
      tokens.push({ kind: 'word', text });
      at += text.length;
    }
  }
  if (open.length > 0) throw new Error(`${open.join('')} is missing at the end`);
  return tokens;
}

/** A quote character doubled by any of its kind stands for the second one. */
function readString(
  script: string,
  start: number,
  quotes: string,
  hasEscapes: boolean,
): { text: string; length: number } {
  let text = '';
  for (let at = start + 1; at < script.length; at += 1) {
    const char = script[at] ?? '';
    if (hasEscapes && char === '`') {
      at += 1;
      text += script[at] ?? '';
    } else if (!quotes.includes(char)) {
      text += char;
    } else if (quotes.includes(script[at + 1] ?? ' ')) {
      at += 1;
      text += script[at] ?? '';
    } else {
      return { text, length: at + 1 - start };
    }
  }
  throw new Error(`a string stays open at ${lineOf(script, start)}`);
}

function lineOf(script: string, at: number): string {
  return `line ${script.slice(0, at).split('\n').length}`;
}

/** The value of an expression that `quote` wrote: strings and [char] codes, added. */
export function valueOf(expression: string): string {
  const inner = expression.replace(/^\((.*)\)$/s, '$1');
  let value = '';
  let rest = inner;
  while (rest !== '') {
    const code = /^\[char\]0x([0-9a-f]{4})/.exec(rest);
    if (code) {
      value += String.fromCharCode(parseInt(code[1] ?? '', 16));
      rest = rest.slice(code[0].length);
    } else if (rest.startsWith("'")) {
      const { text, length } = readString(rest, 0, SINGLE_QUOTES, false);
      value += text;
      rest = rest.slice(length);
    } else if (rest.startsWith(' + ')) {
      rest = rest.slice(3);
    } else {
      throw new Error(`not an expression of strings: ${expression}`);
    }
  }
  return value;
}
