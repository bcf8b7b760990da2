// One S/MIME operation on a file in a process of its own, as the bench runs it:
// node bench/smime-child.ts encrypt|decrypt|sign|verify MESSAGE OUTPUT KEY.pem CERTIFICATE.pem CA.pem
import { peakRssKiB } from './memory.ts';
import { readPerson } from './smime-person.ts';
import { runOnFile, type SmimeOperation } from './smime-operation.ts';

const [operation = '', input = '', output = '', key = '', certificate = '', ca = ''] = process.argv.slice(2);
await runOnFile(operation as SmimeOperation, input, output, readPerson({ key, certificate, ca }));
console.log(JSON.stringify({ maxRssKiB: peakRssKiB() }));
