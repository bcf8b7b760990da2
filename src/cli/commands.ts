// The commands, by their first word and in the order in which the overview shows them. A group is loaded when it is
// asked for: what `queue list` needs is a small part of the gateway.
import type { Command } from './command.ts';

const GROUPS: Readonly<Record<string, () => Promise<readonly Command[]>>> = {
  serve: async () => [(await import('./serve.ts')).serve],
  demo: async () => [(await import('./demo.ts')).demo],
  lab: async () => [(await import('./lab.ts')).lab],
  policy: async () => {
    const { policyCheck, policyExplain } = await import('./policy.ts');
    return [policyCheck, policyExplain];
  },
  setup: async () => [(await import('./setup.ts')).setupExchange],
  doctor: async () => [(await import('./doctor.ts')).doctor],
  keys: async () => {
    const { keysInit, keysApply, keysList, keysShow, keysForgetCapabilities, keysRemove } =
      await import('./keys.ts');
    return [keysInit, keysApply, keysList, keysShow, keysForgetCapabilities, keysRemove];
  },
  message: async () => {
    const { messageEncrypt, messageDecrypt, messageSign, messageVerify } = await import('./message.ts');
    const { messageProve } = await import('./message-prove.ts');
    return [messageEncrypt, messageDecrypt, messageSign, messageVerify, messageProve];
  },
  queue: async () => {
    const { queueList, queueShow, queueRetry, queueRemove } = await import('./queue.ts');
    return [queueList, queueShow, queueRetry, queueRemove];
  },
  tenants: async () => [(await import('./tenants.ts')).tenants],
  recipients: async () => {
    const { recipientsStatus, recipientsCheck, recipientsRefresh } = await import('./recipients.ts');
    return [recipientsStatus, recipientsCheck, recipientsRefresh];
  },
};

/** The commands that begin with this word; all of them where none does. */
export async function loadCommands(
  word: string,
): Promise<{ readonly commands: readonly Command[]; readonly isGroup: boolean }> {
  const load = Object.hasOwn(GROUPS, word) ? GROUPS[word] : undefined;
  if (load) return { commands: await load(), isGroup: true };
  const all = await Promise.all(Object.values(GROUPS).map((each) => each()));
  return { commands: all.flat(), isGroup: false };
}

/** The help of the program, or of one group of commands. */
export function overview(shown: readonly Command[], unknown?: string): string {
  const width = Math.max(...shown.map(({ name, arguments: args }) => `${name} ${args ?? ''}`.length));
  return [
    ...(unknown === undefined ? [] : [`postern: no command ${unknown}`, '']),
    'postern: encryption gateway for mail between an Exchange Online tenant and the Internet',
    '',
    'Commands:',
    ...shown.map(
      ({ name, arguments: args, summary }) => `  ${`${name} ${args ?? ''}`.padEnd(width)}  ${summary}`,
    ),
    '',
    'Every command takes --help and --json.',
    'Exit codes: 0 success, 1 invalid, 2 wrong usage, 3 no usable key, 4 error.',
    '',
  ].join('\n');
}
