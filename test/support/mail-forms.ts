// Mail as clients and programs really write it: bytes, encodings and structures that a gateway may not harm.

/** What stands below the outer fields of a message: Content-* fields, a blank line, the body. In latin1. */
export interface MailForm {
  readonly name: string;
  readonly content: string;
  /** Fields of the message itself, each with its line end. */
  readonly fields?: string;
}

function multipart(boundary: string, ...parts: readonly string[]): string {
  const written = boundary.replace(/["\\]/g, '\\$&');
  const body = parts.map((part) => `--${boundary}\r\n${part}\r\n`).join('');
  return `Content-Type: multipart/mixed; boundary="${written}"\r\n\r\n${body}--${boundary}--\r\n`;
}

const plain = (body: string, more = ''): string => `Content-Type: text/plain\r\n${more}\r\n${body}`;
const alternative =
  'Content-Type: multipart/alternative; boundary=alt\r\n\r\n--alt\r\nContent-Type: text/plain\r\n\r\none\r\n--alt\r\nContent-Type: text/html\r\n\r\n<p>one\r\n--alt--\r\n';
const pdf =
  'Content-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\nJVBERi0xLjQK';
const base64At = (columns: number): string =>
  Buffer.alloc(900, 'postern')
    .toString('base64')
    .replace(new RegExp(`.{${columns}}`, 'g'), '$&\r\n');
const signedPart =
  'Content-Type: multipart/signed; protocol="application/pgp-signature"; boundary=sig\r\n\r\n--sig\r\n' +
  'Content-Type: message/rfc822\r\n\r\nSubject: \xfc\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xe9 \r\nFrom x\r\n\r\n--sig\r\n' +
  'Content-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n\r\nAAAA\r\n-----END PGP SIGNATURE-----\r\n--sig--\r\n';

export const mailForms: readonly MailForm[] = [
  {
    name: 'iso-8859-1 in quoted-printable',
    content:
      'Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=E9\r\n',
  },
  { name: 'an 8-bit byte and no charset', content: plain('\xe9\r\n') },
  { name: 'an 8-bit byte and no Content-Type', content: '\r\n\xe9\r\n' },
  { name: 'UTF-8 in the Subject', fields: 'Subject: gr\xc3\xbc\xc3\x9fe\r\n', content: plain('x\r\n') },
  { name: 'iso-8859-1 in the Subject', fields: 'Subject: gr\xfc\xdfe\r\n', content: plain('x\r\n') },
  {
    name: 'an encoded word that is no UTF-8',
    fields: 'Subject: =?utf-8?Q?=FF?=\r\n',
    content: plain('x\r\n'),
  },
  { name: 'no MIME at all', content: '\r\nout of cron\r\n' },
  { name: 'an empty Content-Type', content: 'Content-Type:\r\n\r\nx\r\n' },
  {
    name: 'an attachment without a name',
    content: multipart(
      'b',
      plain('x'),
      'Content-Type: application/octet-stream; name=\r\nContent-Disposition: attachment\r\n\r\nx',
    ),
  },
  {
    name: 'a calendar with line feeds',
    content: 'Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR\nEND:VCALENDAR\n',
  },
  {
    name: 'equals signs that would decode twice',
    content: plain('a==b =3D3D\r\n', 'Content-Transfer-Encoding: quoted-printable\r\n'),
  },
  { name: 'line feeds alone', content: plain('one\ntwo\n\nthree\n') },
  { name: 'no final line end', content: plain('one\r\ntwo') },
  { name: 'blank lines at the end', content: plain('one\r\n\r\n\r\n') },
  { name: 'an empty body', content: plain('') },
  {
    name: 'several lines with umlauts in 8bit',
    content:
      'Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\none\r\n\xc3\xa4\r\nthree\r\n',
  },
  {
    name: 'a long line under a wrong label',
    content: plain(`${'\xe4'.repeat(2_000)}\r\n`, 'Content-Transfer-Encoding: 7bit\r\n'),
  },
  {
    name: 'an HTML line of 1,500',
    content: `Content-Type: text/html\r\n\r\n<p>${'x'.repeat(1_500)}</p>\r\n`,
  },
  { name: 'a line of 990', content: plain(`${'x'.repeat(990)}\r\n`) },
  { name: 'trailing blanks and tabs', content: plain('-- \r\nme\t\t\r\n \r\n') },
  { name: 'a From line and dots', content: plain('From here on\r\n.\r\n..\r\n') },
  {
    name: 'preamble and epilogue',
    content: `${multipart('b', plain('x'), pdf).replace('\r\n\r\n', '\r\n\r\npreamble\r\n')}epilogue\r\n`,
  },
  { name: 'nested multiparts', content: multipart('b', alternative, pdf) },
  {
    name: 'an inner multipart without its end',
    content: multipart('b', alternative.replace('--alt--\r\n', ''), plain('x')),
  },
  {
    name: 'an outer multipart without its end',
    content: multipart('b', plain('x'), pdf).replace(/--b--\r\n$/, ''),
  },
  { name: 'a boundary of punctuation', content: multipart('=_?: ()', plain('x'), pdf) },
  {
    name: 'a boundary that is the start of another',
    content: multipart('b', multipart('bb', plain('x')), plain('y')),
  },
  {
    name: 'base64 in 72 columns',
    content: `Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n${base64At(72)}\r\n`,
  },
  {
    name: 'base64 in 60 columns',
    content: multipart('b', `Content-Type: a/b\r\nContent-Transfer-Encoding: base64\r\n\r\n${base64At(60)}`),
  },
  {
    name: 'quoted-printable in 60 columns',
    content: plain(
      `${`${'x'.repeat(59)}=\r\n`.repeat(5)}\r\n`,
      'Content-Transfer-Encoding: quoted-printable\r\n',
    ),
  },
  { name: 'a signed part inside', content: multipart('b', plain('x'), signedPart) },
  {
    name: 'a signed message that a rule has wrapped',
    content: `Content-Type: message/rfc822\r\n\r\nSubject: in\r\n${signedPart}`,
  },
  { name: 'no MIME-Version', fields: 'X-Odd:  two  blanks\r\n', content: plain('x\r\n') },
  {
    name: 'MIME-Version twice',
    fields: 'MIME-Version: 1.0\r\nmime-version: 1.0 (x)\r\n',
    content: plain('x\r\n'),
  },
  {
    name: 'winmail.dat',
    content: multipart(
      'b',
      plain('x'),
      `Content-Type: application/ms-tnef; name="winmail.dat"\r\nContent-Transfer-Encoding: base64\r\n\r\n${base64At(76)}`,
    ),
  },
];

/** The form as a message of this author. */
export function mailOf({ content, fields = '' }: MailForm, from: string, to: string): Buffer {
  return Buffer.from(`From: ${from}\r\nTo: ${to}\r\n${fields}${content}`, 'latin1');
}

/** The content as it stands behind the door: bare line feeds are line ends, the last line has one. */
export function afterDoor(content: string): string {
  const [head = '', ...rest] = content.split(/(?<=^|\r\n)\r\n/);
  const body = rest.join('\r\n').replace(/\r?\n/g, '\r\n');
  return `${head}\r\n${body}${body === '' || body.endsWith('\r\n') ? '' : '\r\n'}`;
}
