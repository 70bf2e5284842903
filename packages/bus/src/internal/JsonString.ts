/** String literals of JSON inside a larger text. */

export interface Literal {
  readonly value: string
  /** Index just behind the closing quote. */
  readonly end: number
}

/** The literal that begins at `from`, or undefined when none does. */
export const read = (text: string, from: number): Literal | undefined => {
  if (text.charCodeAt(from) !== 34) return undefined
  for (let i = from + 1; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 92) i++
    else if (unit < 32) return undefined
    else if (unit === 34) {
      try {
        return { value: JSON.parse(text.slice(from, i + 1)) as string, end: i + 1 }
      } catch {
        return undefined
      }
    }
  }
  return undefined
}
