// Recipients by Microsoft Graph: users, groups and contacts, each by a delta query. The first load reads everything; later
// ones read what has changed since, as long as the service remembers where we were.
import { parseAddress } from '../../core/address.ts';
import { GraphClient, GRAPH_LIMITS, type GraphLimits, type GraphOptions } from './graph-client.ts';
import { type LoadedAddresses, parseProxyAddress, type RecipientSource, unavailable } from './source.ts';

/** What each query reads. Hidden recipients come as well; disabled users too, since shared mailboxes are such. */
const QUERIES = {
  users: 'id,mail,proxyAddresses',
  groups: 'id,mail,proxyAddresses,mailEnabled',
  contacts: 'id,mail,proxyAddresses',
} as const;
type QueryName = keyof typeof QUERIES;

/** What is known of an object. Later pages name only the properties that changed. */
interface GraphObject {
  readonly mail?: string;
  readonly proxies?: readonly string[];
  readonly isMailEnabled?: boolean;
}

interface QueryState {
  /** `@odata.deltaLink` of the last load. */
  readonly link: string;
  readonly objects: readonly (readonly [id: string, object: GraphObject])[];
}

type GraphState = Readonly<Record<QueryName, QueryState>>;

/** Permissions: User.Read.All, Group.Read.All and OrgContact.Read.All, as an application. */
export function graphSource(options: GraphOptions): RecipientSource {
  const limits = { ...GRAPH_LIMITS, ...options.limits };
  return {
    name: 'microsoft_graph',
    settings: JSON.stringify([options.tenant, options.endpoint]),
    load: async (state, { clock, signal }) => {
      const client = new GraphClient(options, limits, clock, signal);
      const before = asState(state);
      const load = (name: QueryName) => loadQuery(client, options.endpoint, name, before?.[name], limits);
      // One after the other: the service throttles by tenant and application.
      const users = await load('users');
      const groups = await load('groups');
      const contacts = await load('contacts');
      return toAddresses({ users, groups, contacts });
    },
  };
}

async function loadQuery(
  client: GraphClient,
  endpoint: string,
  name: QueryName,
  before: QueryState | undefined,
  limits: GraphLimits,
): Promise<QueryState> {
  const start = `${endpoint}/v1.0/${name}/delta?$select=${QUERIES[name]}`;
  if (before) {
    const changed = await follow(client, name, before.link, new Map(before.objects), limits);
    if (changed) return changed;
  }
  // The link has expired, or there was none; once more, should it expire while the pages are read.
  for (let tries = 0; tries < 2; tries += 1) {
    const whole = await follow(client, name, start, new Map(), limits);
    if (whole) return whole;
  }
  throw unavailable(`the list of ${name} of Microsoft Graph expires while it is read`);
}

/** Reads from a link to the delta link at the end, and changes `objects`. Undefined: the link has expired. */
async function follow(
  client: GraphClient,
  name: QueryName,
  start: string,
  objects: Map<string, GraphObject>,
  { maxPages, maxObjects }: GraphLimits,
): Promise<QueryState | undefined> {
  let link = start;
  for (let pages = 0; pages < maxPages; pages += 1) {
    const answer = await client.get(link, name);
    if (answer.kind === 'expired') return undefined;
    const page = parsePage(answer.body);
    for (const item of page.items) apply(objects, item);
    if (objects.size > maxObjects) throw unavailable(`more than ${maxObjects} objects`);
    if (page.isEnd) return { link: page.link, objects: [...objects] };
    link = page.link;
  }
  throw unavailable(`more than ${maxPages} pages`);
}

type Item = Readonly<Record<string, unknown>>;

/** A page has either a next link or, at the end, a delta link. Anything else is no page: nothing may be missed. */
function parsePage(body: unknown): {
  readonly items: readonly Item[];
  readonly link: string;
  readonly isEnd: boolean;
} {
  const page = (typeof body === 'object' && body !== null ? body : {}) as Item;
  const { value, '@odata.nextLink': next, '@odata.deltaLink': delta } = page;
  const link = next ?? delta;
  const isReadable = Array.isArray(value) && value.every((item) => typeof item === 'object' && item !== null);
  if (!isReadable || typeof link !== 'string')
    throw unavailable('Microsoft Graph answers with something that is no page');
  return { items: value as readonly Item[], link, isEnd: next === undefined };
}

function apply(objects: Map<string, GraphObject>, item: Item): void {
  const { id } = item;
  if (typeof id !== 'string') throw unavailable('Microsoft Graph names an object without id');
  if (item['@removed'] !== undefined) {
    objects.delete(id);
    return;
  }
  const before = objects.get(id);
  const { mail, proxyAddresses, mailEnabled } = item;
  const proxies = Array.isArray(proxyAddresses)
    ? proxyAddresses.filter((value) => typeof value === 'string' && /^smtp:/i.test(value))
    : undefined;
  objects.set(id, {
    ...(mail === undefined ? pick(before, 'mail') : typeof mail === 'string' ? { mail } : {}),
    ...(proxyAddresses === undefined ? pick(before, 'proxies') : proxies ? { proxies } : {}),
    ...(mailEnabled === undefined ? pick(before, 'isMailEnabled') : { isMailEnabled: mailEnabled === true }),
  });
}

function pick<Name extends keyof GraphObject>(
  object: GraphObject | undefined,
  name: Name,
): Pick<GraphObject, Name> {
  return (object?.[name] === undefined ? {} : { [name]: object[name] }) as Pick<GraphObject, Name>;
}

function toAddresses(state: GraphState): LoadedAddresses {
  const addresses = new Set<string>();
  for (const [name, { objects }] of Object.entries(state) as [QueryName, QueryState][]) {
    for (const [, { mail, proxies = [], isMailEnabled }] of objects) {
      // A security group may have a `mail` that leads nowhere.
      if (name === 'groups' && isMailEnabled !== true) continue;
      const found = [mail === undefined ? undefined : parseAddress(mail), ...proxies.map(parseProxyAddress)];
      for (const address of found) if (address) addresses.add(address.key);
    }
  }
  return { addresses, state };
}

/** State of our own making, sealed in between; of another form it is none. */
function asState(state: unknown): GraphState | undefined {
  const given = (state ?? {}) as Partial<Record<QueryName, Partial<QueryState>>>;
  const isWhole = (Object.keys(QUERIES) as QueryName[]).every(
    (name) => typeof given[name]?.link === 'string' && Array.isArray(given[name].objects),
  );
  return isWhole ? (given as GraphState) : undefined;
}
