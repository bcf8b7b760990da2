// The lab's DNS: an authoritative server over UDP, with its zones as a plain literal. It answers what a resolver library
// asks for and nothing more: no recursion, no DNSSEC, and no TCP, because loopback carries a datagram of any size.
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { type AddressInfo } from 'node:net';
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  type DecodedPacket,
  decode,
  encode,
  type Packet,
  type Question,
  RECURSION_DESIRED,
} from 'dns-packet';

export interface TlsaRecord {
  readonly usage: number;
  readonly selector: number;
  readonly matchingType: number;
  readonly certificate: Buffer;
}

/** The records of one name. `[10, 'mx.example']` is preference and host; `'.'` as host is the null MX (RFC 7505). */
export interface DnsRecords {
  readonly A?: readonly string[];
  readonly AAAA?: readonly string[];
  readonly CNAME?: string;
  readonly MX?: readonly (readonly [number, string])[];
  readonly NS?: readonly string[];
  readonly PTR?: readonly string[];
  readonly TLSA?: readonly TlsaRecord[];
  readonly TXT?: readonly string[];
}

/** `'servfail'`: the name answers SERVFAIL. `'silent'`: no answer at all, the resolver times out. */
export type DnsZones = Readonly<Record<string, DnsRecords | 'servfail' | 'silent'>>;

export interface Dns extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** Every question so far, as `TYPE name`, in the order of arrival. */
  queries(): readonly string[];
  /** Adds names, or replaces the records of names that are there. */
  put(zones: DnsZones): void;
}

const TTL_SECONDS = 60;
const MAX_CNAMES = 8;
const MAX_TEXT_OCTETS = 255;
const NOERROR = 0;
const SERVFAIL = 2;
const NXDOMAIN = 3;

/** Opens the server on a loopback address; port 0 takes a free one. The caller disposes it. */
export async function openDns(
  zones: DnsZones,
  options: { readonly address?: string; readonly port?: number } = {},
): Promise<Dns> {
  const names = new Map<string, DnsRecords | 'servfail' | 'silent'>();
  const put = (more: DnsZones): void => {
    for (const [name, records] of Object.entries(more)) names.set(canonicalName(name), records);
  };
  put(zones);
  const asked: string[] = [];
  const socket = createSocket('udp4');
  socket.on('message', (bytes, from) => {
    const query = decodeQuery(bytes);
    const question = query?.questions?.[0];
    if (!query || !question) return;
    asked.push(`${question.type} ${canonicalName(question.name)}`);
    const reply = answer(names, query, question);
    if (reply) send(socket, reply, from);
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(options.port ?? 0, options.address ?? '127.0.0.1', resolve);
  });
  const bound: AddressInfo = socket.address();
  return {
    address: bound.address,
    port: bound.port,
    queries: () => asked,
    put,
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => socket.close(() => resolve())),
  };
}

/** What is not a query gets no answer: a server that answers replies can be made to talk to itself. */
function decodeQuery(bytes: Buffer): DecodedPacket | undefined {
  try {
    const packet = decode(bytes);
    return packet.type === 'query' ? packet : undefined;
  } catch {
    return undefined;
  }
}

function answer(
  names: ReadonlyMap<string, DnsRecords | 'servfail' | 'silent'>,
  query: DecodedPacket,
  question: Question,
): Packet | undefined {
  const answers: Answer[] = [];
  let code = NOERROR;
  let name = canonicalName(question.name);
  for (let hops = 0; hops <= MAX_CNAMES; hops += 1) {
    const records = names.get(name);
    if (records === 'silent') return undefined;
    if (records === 'servfail') return reply(query, [], SERVFAIL);
    if (!records) {
      code = hasNamesBelow(names, name) ? NOERROR : NXDOMAIN;
      break;
    }
    const owner = hops === 0 ? question.name : name;
    const found = recordsOf(owner, records, question.type);
    answers.push(...found);
    if (found.length > 0 || records.CNAME === undefined || question.type === 'CNAME') break;
    answers.push({ type: 'CNAME', name: owner, ttl: TTL_SECONDS, data: records.CNAME });
    name = canonicalName(records.CNAME);
  }
  return reply(query, answers, code);
}

function reply(query: DecodedPacket, answers: Answer[], code: number): Packet {
  const isEmpty = answers.every((entry) => entry.type === 'CNAME');
  return {
    type: 'response',
    ...(query.id === undefined ? {} : { id: query.id }),
    flags: AUTHORITATIVE_ANSWER | ((query.flags ?? 0) & RECURSION_DESIRED) | code,
    questions: query.questions ?? [],
    answers,
    // RFC 2308 §3: without the SOA a negative answer cannot be cached, and some resolvers try it again.
    authorities: isEmpty && code !== SERVFAIL ? [startOfAuthority()] : [],
  };
}

function recordsOf(name: string, records: DnsRecords, type: Question['type']): Answer[] {
  const common = { name, ttl: TTL_SECONDS };
  const writers: Partial<Record<Question['type'], () => Answer[]>> = {
    A: () => (records.A ?? []).map((data) => ({ ...common, type: 'A', data })),
    AAAA: () => (records.AAAA ?? []).map((data) => ({ ...common, type: 'AAAA', data })),
    CNAME: () => [records.CNAME ?? []].flat().map((data) => ({ ...common, type: 'CNAME', data })),
    MX: () =>
      (records.MX ?? []).map(([preference, exchange]) => ({
        ...common,
        type: 'MX',
        data: { preference, exchange },
      })),
    NS: () => (records.NS ?? []).map((data) => ({ ...common, type: 'NS', data })),
    PTR: () => (records.PTR ?? []).map((data) => ({ ...common, type: 'PTR', data })),
    TLSA: () => (records.TLSA ?? []).map((data) => ({ ...common, type: 'TLSA', data })),
    TXT: () => (records.TXT ?? []).map((text) => ({ ...common, type: 'TXT', data: textStrings(text) })),
  };
  return writers[type]?.() ?? [];
}

/** A TXT record longer than 255 octets is several strings (RFC 1035 §3.3.14), which readers join. */
function textStrings(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const strings: Buffer[] = [];
  for (let at = 0; at === 0 || at < bytes.length; at += MAX_TEXT_OCTETS) {
    strings.push(bytes.subarray(at, at + MAX_TEXT_OCTETS));
  }
  return strings;
}

function startOfAuthority(): Answer {
  return {
    type: 'SOA',
    name: '',
    ttl: TTL_SECONDS,
    data: {
      mname: 'ns.lab.example',
      rname: 'hostmaster.lab.example',
      serial: 1,
      refresh: 3600,
      retry: 600,
      expire: 86_400,
      minimum: TTL_SECONDS,
    },
  };
}

/** RFC 8020: a name with names below it exists, so asking for it is NODATA and not NXDOMAIN. */
function hasNamesBelow(names: ReadonlyMap<string, unknown>, name: string): boolean {
  return names.keys().some((known) => known.endsWith(`.${name}`));
}

function canonicalName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

function send(socket: Socket, packet: Packet, to: RemoteInfo): void {
  socket.send(encode(packet), to.port, to.address);
}
