// Keeps files readable: no source file over 400 lines, and each opens with a comment on what it owns.
import { globSync, readFileSync } from 'node:fs';

const MAX_LINES = 400;
const problems = globSync('src/**/*.ts').flatMap((file) => {
  const text = readFileSync(file, 'utf8');
  const lines = text.split('\n').length - 1;
  return [
    ...(lines > MAX_LINES ? [`${file}: ${lines} lines, at most ${MAX_LINES}`] : []),
    ...(text.startsWith('//') || text.startsWith('#!')
      ? []
      : [`${file}: does not open with a comment on what it owns`]),
  ];
});
for (const problem of problems) console.error(problem);
process.exitCode = problems.length > 0 ? 1 : 0;
