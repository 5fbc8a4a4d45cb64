"use strict";
// Uses the page, and leaves what it finds in an attribute of the document (the type driven of browser_test.go).
{
const root = document.documentElement;
const table = document.querySelector("table.operands");
const heading = [...table.tHead.rows[0].cells].find((cell) => cell.textContent.trim() === "relative L2");
const rows = () => [...table.querySelectorAll("tbody tr[id]")];
const column = () => rows().map((row) => row.cells[heading.cellIndex].textContent);
const prefix = () => document.querySelector("#o3 .name span").getClientRects().length > 0;

const luminance = (colour) => {
  const [r, g, b] = colour.match(/[\d.]+/g).map(Number).map((c) => c / 255).map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (!/, 0\)$|transparent/.test(colour)) return colour;
  }
  return "rgb(255, 255, 255)";
};
// Texts with less contrast than WCAG asks for, on every colour that cells and blocks may have.
const faint = () => {
  const list = [], row = document.querySelector(".heat tbody").insertRow(), bar = document.querySelector("#s0 .bar");
  for (let i = 0; i < 9; i++) row.insertCell().className = `h${i}`;
  row.insertCell().className = "infinite";
  for (let i = 0; i < 8; i++) bar.appendChild(document.createElement("span")).className = `block k${i}`;
  const trials = [...row.cells, ...bar.querySelectorAll("span.block")];
  for (const e of trials) e.textContent = e.className;
  for (const e of document.body.querySelectorAll("*:not(svg *, script)")) {
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || e.getClientRects().length === 0) continue;
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) list.push(`${e.className || e.tagName} ${e.textContent.trim().slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  for (const e of trials) e.remove();
  row.remove();
  return list;
};

const driven = {
  width: innerWidth, overflow: root.scrollWidth - root.clientWidth, dark: matchMedia("(prefers-color-scheme: dark)").matches,
  pictures: document.querySelectorAll("svg").length,
  unseen: [...document.querySelectorAll("svg")].filter((svg) => svg.getBoundingClientRect().width < 100).length,
  faint: faint(),
  groups: [table.tBodies.length], prefixed: [prefix()],
  colours: new Set([...document.querySelectorAll(".heat td")].map((cell) => getComputedStyle(cell).backgroundColor)).size,
};

heading.querySelector("button").click();
driven.down = column();
driven.groups.push(table.tBodies.length);
driven.prefixed.push(prefix());
heading.querySelector("button").click();
driven.up = column();
heading.querySelector("button").click();
driven.groups.push(table.tBodies.length);
driven.prefixed.push(prefix());

const filter = (text) => {
  const input = document.querySelector("#filter input");
  input.value = text;
  input.dispatchEvent(new Event("input"));
  return document.querySelector("#filter output").textContent;
};
driven.counted = filter("FC1 bfp16");
driven.filtered = rows().filter((row) => row.getClientRects().length > 0).length;
driven.headings = [...table.querySelectorAll(".group")].filter((row) => row.getClientRects().length > 0).length;
driven.unfound = filter("nothing like this");
filter("");

const block = document.querySelector("#s1 .block");
block.focus();
driven.tip = block.querySelector(".tip").getClientRects().length > 0;

top.document.documentElement.dataset.driven = JSON.stringify(driven);
}
