// What modules ask of the page when they are loaded: Node has no document and no address.
Object.assign(globalThis, {
  document: { baseURI: "https://site.test/" },
  location: new URL("https://site.test/"),
  addEventListener: () => {},
});
