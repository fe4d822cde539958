/** What becomes the next Debian. */
import { testOnRelease } from './on-release.ts';

testOnRelease('forky', '12.8');
