// URLs of directories in a policy file: which forms are read, and which lead to this machine only.

const LOOPBACK = /^(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost)$/;

/** What is wrong with the URL of an LDAP server, or undefined. */
export function checkLdapUrl(text: string): string | undefined {
  const url = parse(text);
  const isLdap = url?.protocol === 'ldap:' || url?.protocol === 'ldaps:';
  return isLdap && isBase(url, text) ? undefined : 'is not a URL like ldaps://host or ldaps://host:3269';
}

/** What is wrong with the base of an HTTP service, or undefined. Clear text is for services on this machine only. */
export function checkBaseUrl(text: string): string | undefined {
  const url = parse(text);
  const isHttp = url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopbackUrl(text));
  return isHttp && isBase(url, text) ? undefined : 'is not a URL like https://host, without a path';
}

export function isLoopbackUrl(text: string): boolean {
  return LOOPBACK.test(parse(text)?.hostname ?? '');
}

function parse(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

/** Host and port alone. */
function isBase(url: URL, text: string): boolean {
  return url.hostname !== '' && /^[a-z]+:\/\/[^/?#@\s\\]+\/?$/i.test(text);
}
