// A chart as a file that looks outside of the page as it looks in it: colours are resolved, and title and legend are
// part of the picture.

const SVG = "http://www.w3.org/2000/svg";
/** Room around the chart, and the height of a line of text, in the picture's units. */
const EDGE = 16;
const LINE = 22;

interface Picture {
  text: string;
  width: number;
  height: number;
}

/** A new element with attributes. */
function element(name: string, attributes: Record<string, string | number>, text = ""): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.textContent = text;
  return made;
}

/** Gives a copy the colours that its original has in the page: outside of it, neither tokens nor its styles exist. */
function resolve(original: Element, copy: Element) {
  const [from, to] = [
    [original, ...original.querySelectorAll("*")],
    [copy, ...copy.querySelectorAll("*")],
  ];
  from.forEach((part, i) => {
    const into = to[i];
    if (!into) return;
    for (const name of ["fill", "stroke"]) {
      const value = part.getAttribute(name);
      if (value && /var\(|currentColor/i.test(value))
        into.setAttribute(name, getComputedStyle(part).getPropertyValue(name));
    }
    into.removeAttribute("class");
    into.removeAttribute("style");
  });
  for (const style of copy.querySelectorAll("style")) style.remove();
}

/** The legend's entries: a colour and what it stands for. Plot draws them beside the chart, as HTML. */
function legend(place: Element): { colour: string; label: string }[] {
  return [...place.querySelectorAll(":scope > figure > :not(svg) svg")].map((swatch) => ({
    colour: getComputedStyle(swatch.querySelector("rect, circle, path") ?? swatch).fill,
    label: swatch.parentElement?.textContent?.trim() ?? "",
  }));
}

/** The chart in `place` as an SVG document with its title and its legend; undefined where none is drawn. */
export function svgFile(place: Element, title: string): Picture | undefined {
  const drawn = place.querySelector(":scope > svg, :scope > figure > svg");
  if (!(drawn instanceof SVGSVGElement)) return undefined;
  const page = getComputedStyle(drawn);
  const inner = { width: Number(drawn.getAttribute("width")), height: Number(drawn.getAttribute("height")) };
  const entries = legend(place);
  const top = EDGE + LINE * (entries.length > 0 ? 2 : 1);
  const [width, height] = [inner.width + 2 * EDGE, inner.height + top + EDGE];
  const whole = element("svg", {
    xmlns: SVG,
    width,
    height,
    viewBox: `0 0 ${width} ${height}`,
    fill: page.color,
    color: page.color,
    "font-family": "system-ui, sans-serif",
    "font-size": 13,
  });
  whole.append(element("title", {}, title), element("rect", { width, height, fill: page.backgroundColor }));
  whole.append(element("text", { x: EDGE, y: EDGE + 12, "font-weight": 600 }, title));
  let at = EDGE;
  for (const { colour, label } of entries) {
    whole.append(element("rect", { x: at, y: EDGE + LINE + 1, width: 12, height: 12, fill: colour }));
    whole.append(element("text", { x: at + 18, y: EDGE + LINE + 12 }, label));
    at += 18 + 8 * label.length + EDGE;
  }
  const copy = drawn.cloneNode(true) as SVGSVGElement;
  resolve(drawn, copy);
  for (const [name, value] of Object.entries({ x: EDGE, y: top, overflow: "visible" }))
    copy.setAttribute(name, String(value));
  whole.append(copy);
  return { text: new XMLSerializer().serializeToString(whole), width, height };
}

/** The chart in `place` as a PNG of twice its size in the page. */
export async function pngFile(place: Element, title: string): Promise<Blob | undefined> {
  const picture = svgFile(place, title);
  if (!picture) return undefined;
  const image = new Image();
  // The page's policy takes pictures as data, not as blobs.
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(picture.text)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), {
    width: 2 * picture.width,
    height: 2 * picture.height,
  });
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("the browser made no picture"))), "image/png"),
  );
}
