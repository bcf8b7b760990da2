// Which IP addresses lie in the public Internet: everything else is loopback, private, reserved or a way around (RFC 6890
// and the IANA special-purpose registries).
import { BlockList, isIP } from 'node:net';

const NOT_PUBLIC_V4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
];
/** Global unicast is 2000::/3. Taken out of it are protocol assignments (Teredo too), documentation and 6to4. */
const PUBLIC_V6 = '2000::/3';
const NOT_PUBLIC_V6 = ['2001::/23', '2001:db8::/32', '2002::/16', '2620:4f:8000::/48', '3fff::/20'];

const refused = new BlockList();
for (const network of NOT_PUBLIC_V4) add(refused, network, 'ipv4');
for (const network of NOT_PUBLIC_V6) add(refused, network, 'ipv6');
const global = new BlockList();
add(global, PUBLIC_V6, 'ipv6');

/** SECURITY: IPv4 addresses in IPv6 clothes are not public, whatever they hold (test: public addresses). */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !refused.check(address, 'ipv4');
    case 6:
      // A zone (`fe80::1%eth0`) belongs to what is local.
      return !address.includes('%') && global.check(address, 'ipv6') && !refused.check(address, 'ipv6');
    default:
      return false;
  }
}

function add(list: BlockList, network: string, family: 'ipv4' | 'ipv6'): void {
  const [address = '', prefix] = network.split('/');
  list.addSubnet(address, Number(prefix), family);
}
