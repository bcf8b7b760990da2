// The list of commands, in the order in which the overview shows them.
import type { Command } from './command.ts';
import { demo } from './demo.ts';
import { keysApply, keysInit, keysList, keysRemove, keysShow } from './keys.ts';
import { lab } from './lab.ts';
import { messageDecrypt, messageEncrypt, messageSign, messageVerify } from './message.ts';
import { policyCheck, policyExplain } from './policy.ts';
import { queueList, queueRemove, queueRetry, queueShow } from './queue.ts';
import { serve } from './serve.ts';

export const commands: readonly Command[] = [
  serve,
  demo,
  lab,
  policyCheck,
  policyExplain,
  keysInit,
  keysApply,
  keysList,
  keysShow,
  keysRemove,
  messageEncrypt,
  messageDecrypt,
  messageSign,
  messageVerify,
  queueList,
  queueShow,
  queueRetry,
  queueRemove,
];

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
