/** Of what others have named: nothing that lvp would take for an option, or a terminal for an instruction. */
export function isPlainName(word: string): boolean {
  return !/^-|\p{Cc}/u.test(word);
}
