// An SMTP reply as data (RFC 5321 §4.2, RFC 3463).

export interface Reply {
  /** Basic code: 250, 4xx or 5xx. */
  readonly code: number;
  /** Enhanced status code, `5.7.1`. */
  readonly enhanced: string;
  /** One line of text, without codes. */
  readonly text: string;
}

export function formatReply(reply: Reply): string {
  return `${reply.enhanced} ${reply.text}`;
}

export function isPositive(reply: Reply): boolean {
  return reply.code >= 200 && reply.code < 300;
}
