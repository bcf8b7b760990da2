// Structured logging. Events are names in kebab-case, everything else is a flat field; no free text carries input.
import { type DestinationStream, pino } from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Readonly<
  Record<string, string | number | boolean | null | undefined | readonly string[]>
>;

export interface Log {
  debug(event: string, fields?: LogFields): void;
  info(event: string, fields?: LogFields): void;
  warn(event: string, fields?: LogFields): void;
  error(event: string, fields?: LogFields): void;
  with(fields: LogFields): Log;
}

const MAX_FIELD_CHARACTERS = 1_024;

/** A log as JSON lines. `destination` defaults to standard error, so that command output stays clean. */
export function openLog(
  level: LogLevel | 'silent',
  destination: DestinationStream = pino.destination(2),
): Log {
  const root = pino(
    { level, base: null, timestamp: pino.stdTimeFunctions.isoTime, messageKey: 'event' },
    destination,
  );
  return wrap(root);
}

export const silentLog: Log = openLog('silent');

function wrap(logger: pino.Logger): Log {
  const write = (level: LogLevel) => (event: string, fields?: LogFields) => {
    logger[level](fields ? clean(fields) : {}, event);
  };
  return {
    debug: write('debug'),
    info: write('info'),
    warn: write('warn'),
    error: write('error'),
    with: (fields) => wrap(logger.child(clean(fields))),
  };
}

/** SECURITY: caps lengths and takes control, line and direction characters out (test: log-inject). */
function clean(fields: LogFields): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name,
      typeof value === 'string'
        ? cleanText(value)
        : Array.isArray(value)
          ? value.slice(0, 100).map(cleanText)
          : value,
    ]),
  );
}

function cleanText(text: string): string {
  return text
    .slice(0, MAX_FIELD_CHARACTERS)
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, '\uFFFD');
}
