// Text fields that are as tall as their text.
import type { Attachment } from "svelte/attachments";

/**
 * Makes a text field as tall as its text, where the browser does not do so by the style `field-sizing`. `text` is read,
 * so that the field follows it when it changes from elsewhere.
 */
export function autosize(text: () => string): Attachment<HTMLTextAreaElement> {
  return (field) => {
    void text();
    if (CSS.supports("field-sizing", "content")) return;
    const fit = () => {
      field.style.height = "auto";
      field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
    };
    fit();
    field.addEventListener("input", fit);
    return () => field.removeEventListener("input", fit);
  };
}
