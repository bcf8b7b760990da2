// Recipients in a file: one address per line, or what `Get-Recipient | Export-Csv` writes. Everything that cannot be read
// as an address is an error with its line: a line that is passed over would be mail that is refused.
import { readFile, stat } from 'node:fs/promises';
import { basename } from 'node:path';
import { type Address, parseAddress } from '../../core/address.ts';
import { parseProxyAddress, type RecipientSource, unavailable } from './source.ts';

const MAX_FILE_BYTES = 64 * 1024 * 1024;
const MAX_PROBLEMS = 20;
/** Columns of Exchange (Get-Recipient) and of Active Directory. One address each, or a list of proxy addresses. */
const SINGLE_COLUMNS = ['primarysmtpaddress', 'mail'];
const PROXY_COLUMNS = ['emailaddresses', 'proxyaddresses'];

export interface CsvProblem {
  readonly line: number;
  readonly message: string;
}

export type CsvResult =
  { readonly addresses: ReadonlySet<string> } | { readonly problems: readonly CsvProblem[] };

interface Row {
  readonly line: number;
  readonly cells: readonly string[];
}

/** Reads the file anew with each load. */
export function csvSource(path: string): RecipientSource {
  return {
    name: 'csv',
    settings: path,
    load: async () => {
      const result = await readRecipientsCsv(path);
      if ('addresses' in result) return { addresses: result.addresses };
      const [first] = result.problems;
      throw unavailable(`${basename(path)}:${first?.line ?? 1}: ${first?.message ?? 'cannot be read'}`);
    },
  };
}

/** Reads and parses the file, at most 64 MiB. Throws GatewayError `recipients-unavailable` where it cannot be read. */
export async function readRecipientsCsv(path: string): Promise<CsvResult> {
  try {
    const found = await stat(path);
    if (!found.isFile()) throw unavailable(`${basename(path)} is not a regular file`);
    if (found.size > MAX_FILE_BYTES) throw unavailable(`${basename(path)} is larger than 64 MiB`);
    const text = decode(await readFile(path));
    if (text === undefined) throw unavailable(`${basename(path)} is not UTF-8 text`);
    return parseRecipientsCsv(text);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? '';
    if (!/^E[A-Z]+$/.test(code)) throw error;
    const reason = code === 'ENOENT' ? 'there is no such file' : code;
    throw unavailable(`${basename(path)} cannot be read: ${reason}`, error);
  }
}

/** Parses the text. Problems are at most 20, in order; none shows the text that it is about. */
export function parseRecipientsCsv(text: string): CsvResult {
  const [first, ...rest] = rowsOf(text);
  if (!first) return { problems: [{ line: 1, message: 'holds no address' }] };
  const columns = columnsOf(first.cells);
  const rows = columns.length > 0 ? rest : [first, ...rest];
  const addresses = new Set<string>();
  const problems: CsvProblem[] = [];
  for (const row of rows) {
    const found = columns.length > 0 ? readRecord(row, columns) : readPlainLine(row);
    if (typeof found === 'string') problems.push({ line: row.line, message: found });
    else for (const { key } of found) addresses.add(key);
    if (problems.length === MAX_PROBLEMS) break;
  }
  if (problems.length > 0) return { problems };
  return addresses.size > 0 ? { addresses } : { problems: [{ line: 1, message: 'holds no address' }] };
}

interface Column {
  readonly index: number;
  readonly name: string;
  readonly isList: boolean;
}

/** The columns with addresses, where the row is a heading. */
function columnsOf(cells: readonly string[]): readonly Column[] {
  return cells.flatMap((cell, index) => {
    const name = cell.trim().toLowerCase();
    const isList = PROXY_COLUMNS.includes(name);
    return isList || SINGLE_COLUMNS.includes(name) ? [{ index, name: cell.trim(), isList }] : [];
  });
}

/** The addresses of a record, or what is wrong. A recipient without an address is none for mail. */
function readRecord({ cells }: Row, columns: readonly Column[]): readonly Address[] | string {
  const found: Address[] = [];
  for (const { index, name, isList } of columns) {
    const cell = (cells[index] ?? '').trim();
    // QUIRK: Export-Csv writes the type of a collection that it cannot flatten (test: unflattened collection).
    if (/^(?:System|Microsoft)\.[\w.]+/.test(cell))
      return `${name} holds the name of a type; export it with @{n='${name}';e={$_.${name} -join ';'}}`;
    const values = isList ? splitProxies(cell) : [cell];
    for (const value of values.filter((each) => each !== '')) {
      const isOther = isList && /^[a-z][a-z0-9-]*:/i.test(value) && !/^smtp:/i.test(value);
      const address = parseProxyAddress(value) ?? parseAddress(value);
      if (address) found.push(address);
      else if (!isOther) return `${name} is not a mail address`;
    }
  }
  return found;
}

function readPlainLine({ line, cells }: Row): readonly Address[] | string {
  const [cell = '', ...more] = cells.map((each) => each.trim());
  const address = parseProxyAddress(cell) ?? parseAddress(cell);
  if (address && more.every((each) => each === '')) return [address];
  if (line === 1 || more.length > 0)
    return 'is neither one address nor a heading with PrimarySmtpAddress or EmailAddresses';
  return 'is not a mail address';
}

/** QUIRK: X500 addresses hold blanks and commas, EUM addresses `;`: only the next type ends one (test: other types). */
function splitProxies(cell: string): readonly string[] {
  const separator = /^[a-z][a-z0-9-]*:/i.test(cell) ? /[;,\s]+(?=[a-z][a-z0-9-]*:)/i : /[;,\s]+/;
  return cell.split(separator).map((each) => each.trim());
}

/** Records of RFC 4180 with their lines; comments, blank lines and the type line of Windows PowerShell are left out. */
function rowsOf(text: string): readonly Row[] {
  const separator = separatorOf(text);
  const rows: Row[] = [];
  let cells: string[] = [];
  let cell = '';
  let isQuoted = false;
  let line = 1;
  let start = 1;
  const endRow = (): void => {
    cells.push(cell);
    const isContent = cells.some((each) => each.trim() !== '') && !(cells[0] ?? '').startsWith('#');
    if (isContent) rows.push({ line: start, cells });
    cells = [];
    cell = '';
    start = line;
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? '';
    if (char === '\n') line += 1;
    if (isQuoted) {
      if (char !== '"') cell += char;
      else if (text[at + 1] === '"') {
        cell += char;
        at += 1;
      } else isQuoted = false;
    } else if (char === '"' && cell === '') isQuoted = true;
    else if (char === separator) {
      cells.push(cell);
      cell = '';
    } else if (char === '\n') endRow();
    else if (char !== '\r') cell += char;
  }
  endRow();
  return rows;
}

/** Export-Csv takes the list separator of the country with -UseCulture. */
function separatorOf(text: string): string {
  const heading = text.split('\n').find((line) => line.trim() !== '' && !line.startsWith('#')) ?? '';
  const counts = [',', ';', '\t'].map((each) => ({ each, count: heading.split(each).length }));
  return counts.sort((a, b) => b.count - a.count)[0]?.each ?? ',';
}

/** QUIRK: Windows PowerShell writes UTF-16 with a byte order mark unless told otherwise (test: utf-16). */
function decode(bytes: Buffer): string | undefined {
  const isUtf16 = bytes[0] === 0xff && bytes[1] === 0xfe;
  try {
    return new TextDecoder(isUtf16 ? 'utf-16le' : 'utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
