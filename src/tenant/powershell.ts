// Values and comments as PowerShell source. Whatever a policy, a certificate or a configuration holds gets into a script
// through here and nowhere else.
import { GatewayError } from '../core/errors.ts';

/** `code` is PowerShell that this program wrote: a variable, an expression. Never a value from outside. */
export type Value = string | boolean | number | readonly string[] | { readonly code: string };

const COMMENT_COLUMNS = 110;

/** The value as PowerShell source. Throws GatewayError as `quote` does. */
export function render(value: Value): string {
  if (typeof value === 'string') return quote(value);
  if (typeof value === 'boolean') return value ? '$true' : '$false';
  if (typeof value === 'number') return String(value);
  if ('code' in value) return value.code;
  return `@(${value.map(quote).join(', ')})`;
}

/**
 * A text as one PowerShell expression of type string, in ASCII. Throws GatewayError `config-invalid` for line ends and other
 * control characters, which no value of a set-up has; the message does not show the text, which may be a secret.
 *
 * SECURITY: PowerShell takes U+2018 to U+201B for single quotes as well, and Windows PowerShell reads a file without BOM in
 * the code page of the machine, where bytes of quite other letters turn into such quotes. So nothing outside ASCII is
 * written as it is (test: hostile-names).
 */
export function quote(text: string): string {
  if (/\p{Cc}|[\u2028\u2029]/u.test(text)) {
    throw new GatewayError(
      'config-invalid',
      'a value for the script holds a line end or a control character',
    );
  }
  const parts = text.split(/([^\x20-\x7e]+)/).flatMap((part, index) => {
    if (index % 2 === 1) return units(part).map((unit) => `[char]0x${unit.toString(16).padStart(4, '0')}`);
    return part === '' ? [] : [`'${part.replaceAll("'", "''")}'`];
  });
  const [first = "''", ...rest] = parts;
  if (rest.length === 0 && first.startsWith("'")) return first;
  // A string on the left makes the sum a string.
  return `(${[...(first.startsWith("'") ? [] : ["''"]), ...parts].join(' + ')})`;
}

/** A text of ours, with values in it, as comment lines. What is not printable ASCII becomes a question mark. */
export function comment(text: string): readonly string[] {
  return text.split('\n').flatMap((paragraph) => wrap(printable(paragraph)));
}

/** SECURITY: a line end would end the comment, and what follows it would run (test: hostile-names). */
function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/gu, '?');
}

function wrap(paragraph: string): readonly string[] {
  const lines: string[] = [];
  let line = '#';
  for (const word of paragraph.split(' ')) {
    if (line.length + word.length + 1 > COMMENT_COLUMNS && line !== '#') {
      lines.push(line);
      line = '#';
    }
    line += ` ${word}`;
  }
  return [...lines, line.trimEnd()];
}

/** UTF-16 code units: what [char] takes. */
function units(text: string): readonly number[] {
  return Array.from({ length: text.length }, (_, index) => text.charCodeAt(index));
}
