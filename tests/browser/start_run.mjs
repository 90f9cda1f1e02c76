/** Presses Run; and once more where the run would take so long on this machine that its estimate is shown first. */
export async function startRun(browser) {
  await browser.click("#run");
  await browser.until(
    "the run or its estimate",
    () => document.querySelector("#pause-run, #run:not(:disabled)") !== null,
  );
  if (await browser.exists("#estimate")) await browser.click("#run");
}
