// Transport rules and outbound connectors of a tenant as plain data, and what they make of a message. Pure. Field names
// follow the parameters of New-TransportRule and New-OutboundConnector.
import { hasName, type RawField, rawField, rawValue } from './raw-header.ts';

export type TlsSettings = 'encryption-only' | 'certificate-validation' | 'domain-validation';

export interface OutboundConnector {
  readonly name: string;
  readonly type: 'partner' | 'on-premises';
  /** Default true. */
  readonly isEnabled?: boolean;
  /** IsTransportRuleScoped: only rules choose it. Else it takes all mail for its `recipientDomains`. */
  readonly isTransportRuleScoped: boolean;
  /** Domains, or `*` for all. */
  readonly recipientDomains?: readonly string[];
  /** Without it TLS is opportunistic and nothing is checked. */
  readonly tlsSettings?: TlsSettings;
  /** The name that `domain-validation` asks for. */
  readonly tlsDomain?: string;
  /** "Retain service headers": Organization-* fields leave as CrossPremises-*. Keep it off. */
  readonly cloudServicesMailEnabled?: boolean;
}

export type Scope = 'in-organization' | 'not-in-organization';
export type MessageType = 'oof' | 'calendaring' | 'read-receipt' | 'signed' | 'encrypted';

export interface HeaderMatch {
  readonly header: string;
  readonly pattern: RegExp;
}

export interface TransportRule {
  readonly name: string;
  /** Default true. */
  readonly isEnabled?: boolean;
  /** `in-organization` holds for authenticated senders only. */
  readonly fromScope?: Scope;
  readonly sentToScope?: Scope;
  readonly headerMatches?: HeaderMatch;
  readonly exceptIfHeaderMatches?: HeaderMatch;
  readonly exceptIfMessageTypeMatches?: readonly MessageType[];
  readonly setHeader?: { readonly name: string; readonly value: string };
  readonly removeHeader?: string;
  /** Name of an outbound connector. */
  readonly routeMessageOutboundConnector?: string;
  readonly stopRuleProcessing?: boolean;
  /** What happens where the rule cannot be carried out. Default `ignore`, as in Exchange: the mail goes on without it. */
  readonly ruleErrorAction?: 'ignore' | 'defer';
}

/** What rules look at. */
export interface RuleInput {
  readonly fields: readonly RawField[];
  /** Whether a mailbox of the tenant sent it, logged in. Forwarded and on-premises mail is not. */
  readonly isAuthenticated: boolean;
  readonly areRecipientsInside: boolean;
}

export interface RuleOutcome {
  readonly fields: readonly RawField[];
  /** Undefined: no rule routes it. */
  readonly connector: OutboundConnector | undefined;
  /** Names of the rules that acted, in order. */
  readonly applied: readonly string[];
  /** The reply text where a rule defers. */
  readonly deferred: string | undefined;
}

/** Runs the rules in their order. */
export function runRules(
  rules: readonly TransportRule[],
  connectors: readonly OutboundConnector[],
  input: RuleInput,
): RuleOutcome {
  let { fields } = input;
  let connector: OutboundConnector | undefined;
  const applied: string[] = [];
  for (const rule of rules) {
    if (!(rule.isEnabled ?? true) || !isMatched(rule, { ...input, fields })) continue;
    const route = routeOf(rule, connectors);
    if (route === 'failed') {
      if (rule.ruleErrorAction !== 'defer') continue;
      const deferred = `4.7.0 Transport rule ${rule.name} cannot be carried out; message deferred`;
      return { fields, connector: undefined, applied, deferred };
    }
    applied.push(rule.name);
    fields = changedFields(rule, fields);
    connector = route ?? connector;
    if (rule.stopRuleProcessing) break;
  }
  return { fields, connector, applied, deferred: undefined };
}

/** The connector that takes the mail where no rule routed it: that of the closest recipient domain. */
export function connectorForDomain(
  connectors: readonly OutboundConnector[],
  domain: string,
): OutboundConnector | undefined {
  const open = connectors.filter((each) => (each.isEnabled ?? true) && !each.isTransportRuleScoped);
  return (
    open.find(({ recipientDomains }) => recipientDomains?.includes(domain)) ??
    open.find(({ recipientDomains }) => recipientDomains?.includes('*'))
  );
}

function routeOf(
  { routeMessageOutboundConnector: wanted }: TransportRule,
  connectors: readonly OutboundConnector[],
): OutboundConnector | 'failed' | undefined {
  if (wanted === undefined) return undefined;
  const found = connectors.find(({ name }) => name === wanted);
  return found && (found.isEnabled ?? true) ? found : 'failed';
}

function isMatched(rule: TransportRule, input: RuleInput): boolean {
  const { fields } = input;
  const from: Scope = input.isAuthenticated ? 'in-organization' : 'not-in-organization';
  const to: Scope = input.areRecipientsInside ? 'in-organization' : 'not-in-organization';
  return (
    (rule.fromScope ?? from) === from &&
    (rule.sentToScope ?? to) === to &&
    (rule.headerMatches === undefined || hasMatch(fields, rule.headerMatches)) &&
    !(rule.exceptIfHeaderMatches && hasMatch(fields, rule.exceptIfHeaderMatches)) &&
    !rule.exceptIfMessageTypeMatches?.some((type) => MESSAGE_TYPES[type](fields))
  );
}

function hasMatch(fields: readonly RawField[], { header, pattern }: HeaderMatch): boolean {
  return fields.some((field) => hasName(field, header) && pattern.test(rawValue(field)));
}

/** How the lab tells the types apart; Exchange does it by its own message classes. */
const MESSAGE_TYPES: Readonly<Record<MessageType, (fields: readonly RawField[]) => boolean>> = {
  oof: (fields) => hasMatch(fields, { header: 'X-MS-Exchange-Inbox-Rules-Loop', pattern: /./ }),
  calendaring: (fields) => hasMatch(fields, { header: 'Content-Class', pattern: /calendarmessage$/i }),
  'read-receipt': contentType(/report-type="?disposition-notification/i),
  signed: contentType(/^multipart\/signed|smime-type="?signed-data/i),
  encrypted: contentType(/^multipart\/encrypted|smime-type="?(auth-)?enveloped-data/i),
};

function contentType(pattern: RegExp): (fields: readonly RawField[]) => boolean {
  return (fields) => hasMatch(fields, { header: 'Content-Type', pattern });
}

function changedFields(rule: TransportRule, fields: readonly RawField[]): readonly RawField[] {
  const { setHeader, removeHeader } = rule;
  const kept = fields.filter(
    (field) =>
      !(setHeader && hasName(field, setHeader.name)) && !(removeHeader && hasName(field, removeHeader)),
  );
  return setHeader ? [rawField(setHeader.name, setHeader.value), ...kept] : kept;
}
