import DOMPurify from "dompurify";
import { NextRequest, NextResponse } from "next/server";

export function Page({ text }: { text: string }) {
  return <div dangerouslySetInnerHTML={{ __html: text }} />; // finds: javascript-raw-html
}

export function Clean({ text }: { text: string }) {
  return <div dangerouslySetInnerHTML={{ __html: DOMPurify.sanitize(text) }} />;
}

export function show(element: HTMLElement) {
  element.innerHTML = location.hash; // finds: javascript-dom-xss
  element.innerHTML = DOMPurify.sanitize(location.hash);
  element.textContent = location.hash;
}

export function leave() {
  const next = new URLSearchParams(location.search).get("next");
  window.location.href = next; // finds: javascript-dom-redirect
  window.location.href = "/home";
}

export async function GET(request: NextRequest) {
  const next = request.nextUrl.searchParams.get("next");
  return NextResponse.redirect(next); // finds: javascript-open-redirect
}

export async function POST(request: NextRequest, prisma: any) {
  const body = await request.json();
  await prisma.$queryRawUnsafe("SELECT * FROM people WHERE name = '" + body.name + "'"); // finds: javascript-sql-injection
  await prisma.person.findMany({ where: { name: body.name } });
}

export async function koa(ctx: any, pool: any) {
  await pool.query(`SELECT * FROM people WHERE name = '${ctx.query.name}'`); // finds: javascript-sql-injection
  ctx.body = "<h1>" + ctx.query.name + "</h1>"; // finds: javascript-xss
  ctx.redirect(ctx.query.next); // finds: javascript-open-redirect
  ctx.body = { name: ctx.query.name };
}
