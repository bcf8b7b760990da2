// The arguments of MAIL and RCPT (RFC 5321 §4.1.1.2, §4.1.1.3) with the extensions that the listener offers: SIZE, 8BITMIME,
// SMTPUTF8, DSN. Pure: text in, data or a reply out. Strict, since the queue and the next hop see what is accepted here.
import { type Address, parseAddress } from '../core/address.ts';
import type { Envelope, NotifyCondition, Recipient } from '../core/envelope.ts';
import { replyFor } from '../core/errors.ts';
import type { Reply } from '../core/reply.ts';

/** What MAIL says. `size` is the announced size in bytes (RFC 1870). */
export interface MailCommand extends Pick<Envelope, 'sender' | 'smtpUtf8' | 'body' | 'ret' | 'envid'> {
  readonly size?: number;
}

export type Parsed<T> = { readonly value: T } | { readonly refused: Reply };

type Parameters = ReadonlyMap<string, string | undefined>;

/** A path may hold blanks and `>` inside a quoted local part. */
const PATH = /^<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(?: +(.*))?$/;
const XTEXT = /^(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})+$/;
const MAX_ENVID = 100;
const MAX_ORCPT = 500;
const CONDITIONS: readonly NotifyCondition[] = ['NEVER', 'SUCCESS', 'FAILURE', 'DELAY'];

/** Parses a whole MAIL line. Unknown parameters get 555, broken ones 501, a bad address 553. */
export function parseMailCommand(line: string): Parsed<MailCommand> {
  const parts = splitCommand(line, /^MAIL FROM:/i);
  if (parts === undefined) return syntax('MAIL FROM:<address>');
  const parameters = parseParameters(parts.parameters, ['SIZE', 'BODY', 'SMTPUTF8', 'RET', 'ENVID']);
  if ('refused' in parameters) return parameters;
  const sizeText = parameters.value.get('SIZE');
  const body = parameters.value.get('BODY')?.toUpperCase() ?? '7BIT';
  const ret = parameters.value.get('RET')?.toUpperCase();
  const envid = parameters.value.get('ENVID');
  const smtpUtf8 = parameters.value.has('SMTPUTF8');
  if (sizeText !== undefined && !/^\d{1,20}$/.test(sizeText)) return badParameter('SIZE');
  if (body !== '7BIT' && body !== '8BITMIME') return badParameter('BODY');
  if (ret !== undefined && ret !== 'FULL' && ret !== 'HDRS') return badParameter('RET');
  if (envid !== undefined && (envid.length > MAX_ENVID || !isPlainXtext(envid))) return badParameter('ENVID');
  const sender = parts.path === '' ? { value: null } : parsePath(parts.path, smtpUtf8);
  if ('refused' in sender) return sender;
  return {
    value: {
      sender: sender.value,
      smtpUtf8,
      body,
      ...(ret === undefined ? {} : { ret }),
      ...(envid === undefined ? {} : { envid }),
      ...(sizeText === undefined ? {} : { size: Number(sizeText) }),
    },
  };
}

/** Parses a whole RCPT line. `<postmaster>` alone means the postmaster of `hostname` (RFC 5321 §4.5.1). */
export function parseRecipientCommand(line: string, smtpUtf8: boolean, hostname: string): Parsed<Recipient> {
  const parts = splitCommand(line, /^RCPT TO:/i);
  if (parts === undefined || parts.path === '') return syntax('RCPT TO:<address>');
  const parameters = parseParameters(parts.parameters, ['NOTIFY', 'ORCPT']);
  if ('refused' in parameters) return parameters;
  const notifyText = parameters.value.get('NOTIFY');
  const notify = notifyText === undefined ? undefined : parseNotify(notifyText);
  const orcpt = parameters.value.get('ORCPT');
  if (notifyText !== undefined && notify === undefined) return badParameter('NOTIFY');
  if (orcpt !== undefined && !isOriginalRecipient(orcpt)) return badParameter('ORCPT');
  const path = /^postmaster$/i.test(parts.path) ? `${parts.path}@${hostname}` : parts.path;
  const address = parsePath(path, smtpUtf8);
  if ('refused' in address) return address;
  return {
    value: {
      address: address.value,
      ...(notify === undefined ? {} : { notify }),
      ...(orcpt === undefined ? {} : { orcpt }),
    },
  };
}

function splitCommand(line: string, verb: RegExp): { path: string; parameters: string } | undefined {
  if (!verb.test(line)) return undefined;
  const found = PATH.exec(line.replace(verb, '').trim());
  return found === null ? undefined : { path: found[1] ?? '', parameters: found[2] ?? '' };
}

function parsePath(path: string, smtpUtf8: boolean): Parsed<Address> {
  if (!smtpUtf8 && /[^\x20-\x7e]/.test(path)) return { refused: replyFor('utf8-not-announced') };
  const address = parseAddress(path);
  return address ? { value: address } : { refused: replyFor('address-invalid') };
}

function parseParameters(text: string, known: readonly string[]): Parsed<Parameters> {
  const found = new Map<string, string | undefined>();
  for (const word of text.split(' ').filter((part) => part !== '')) {
    const equals = word.indexOf('=');
    const name = (equals < 0 ? word : word.slice(0, equals)).toUpperCase();
    const value = equals < 0 ? undefined : word.slice(equals + 1);
    if (!known.includes(name)) {
      return {
        refused: { code: 555, enhanced: '5.5.4', text: 'Parameter is not recognized or implemented' },
      };
    }
    if (found.has(name)) return badParameter(name);
    if ((name === 'SMTPUTF8') !== (value === undefined)) return badParameter(name);
    found.set(name, value);
  }
  return { value: found };
}

function parseNotify(text: string): readonly NotifyCondition[] | undefined {
  const words = text.toUpperCase().split(',');
  const conditions = CONDITIONS.filter((condition) => words.includes(condition));
  const isList = conditions.length === words.length && new Set(words).size === words.length;
  return isList && (words.length === 1 || !words.includes('NEVER')) ? conditions : undefined;
}

/** `addr-type ";" xtext` (RFC 3461 §4.2). */
function isOriginalRecipient(text: string): boolean {
  const semicolon = text.indexOf(';');
  const type = text.slice(0, Math.max(0, semicolon));
  return text.length <= MAX_ORCPT && /^[A-Za-z0-9-]+$/.test(type) && isPlainXtext(text.slice(semicolon + 1));
}

/** SECURITY: no control character may hide in xtext: it would come out in a DSN or a log (test: orcpt-crlf). */
function isPlainXtext(text: string): boolean {
  return XTEXT.test(text) && !/\+(?:[01][0-9A-F]|7F)/.test(text);
}

function syntax(form: string): { refused: Reply } {
  return { refused: { code: 501, enhanced: '5.5.4', text: `Syntax: ${form}` } };
}

function badParameter(name: string): { refused: Reply } {
  return { refused: { code: 501, enhanced: '5.5.4', text: `Parameter ${name} is not valid` } };
}
