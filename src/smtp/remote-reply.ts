// Replies of other mail servers, as data. They are text from outside: parsed once, bounded, and never interpreted further.
import type { Reply } from '../core/reply.ts';

const MAX_TEXT = 500;

/** Parses a reply of one or more lines. A text that is no reply counts as a temporary failure. */
export function parseRemoteReply(response: string): Reply {
  const lines = response.split(/\r?\n/).filter((line) => line !== '');
  const first = /^([2-5]\d\d)[ -]?(.*)$/.exec(lines[0] ?? '');
  if (!first) return { code: 451, enhanced: '4.5.0', text: 'The remote server sent no SMTP reply' };
  const code = Number(first[1]);
  const found = /^([245]\.\d{1,3}\.\d{1,3})(?: |$)/.exec(first[2] ?? '')?.[1];
  // A code of another class than the basic one would turn a temporary answer into a final one, or the other way.
  const enhanced = found?.startsWith(String(code)[0] ?? '') ? found : `${Math.floor(code / 100)}.0.0`;
  const text = lines
    .map((line) => line.replace(/^\d{3}[ -]?/, '').replace(/^[245]\.\d{1,3}\.\d{1,3}(?: |$)/, ''))
    .join(' ')
    .replace(/[^\x20-\x7e\u00a0-\u{10ffff}]/gu, ' ')
    .trim()
    .slice(0, MAX_TEXT);
  return { code, enhanced, text };
}

/** What a reply means for a recipient: 2xx delivered, 5xx failed, anything else is tried again. */
export function statusOf(reply: Reply): 'delivered' | 'deferred' | 'failed' {
  if (reply.code >= 200 && reply.code < 300) return 'delivered';
  return reply.code >= 500 && reply.code < 600 ? 'failed' : 'deferred';
}
