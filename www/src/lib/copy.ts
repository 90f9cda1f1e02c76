// Copying text to the clipboard.

/** Copies a text. Returns whether the browser did; pages without a secure connection have no clipboard. */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}
