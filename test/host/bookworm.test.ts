/** The oldest Debian that the package is for. */
import { testOnRelease } from './on-release.ts';

testOnRelease('bookworm', '9.0');
