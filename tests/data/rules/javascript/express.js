const express = require("express");
const crypto = require("crypto");
const fs = require("fs");
const path = require("path");
const child_process = require("child_process");
const jwt = require("jsonwebtoken");
const _ = require("lodash");
const PAGES = { home: "/home" };
const app = express();

app.get("/people", async (req, res) => {
  const name = req.query.name;
  await db.query("SELECT * FROM people WHERE name = '" + name + "'"); // finds: javascript-sql-injection
  await db.query(`SELECT * FROM people WHERE name = '${name}'`); // finds: javascript-sql-injection
  await db.query("SELECT * FROM people WHERE name = $1", [name]);
  const number = parseInt(req.query.number, 10);
  await db.query("SELECT * FROM people LIMIT " + number);
  await User.findOne({ name: req.body.name }); // finds: javascript-nosql-injection
  await User.findOne({ name: String(req.body.name) });
  await Person.findOne({ where: { name: req.body.name } });
});

app.get("/ping", (req, res) => {
  child_process.exec("ping -c 1 " + req.query.host); // finds: javascript-command-injection
  child_process.execFile("ping", ["-c", "1", req.query.host]);
  eval(req.body.expression); // finds: javascript-code-injection
  JSON.parse(req.body.expression);
  new Function("a", req.query.source); // finds: javascript-code-injection
});

app.get("/hello", (req, res) => {
  res.send("<h1>" + req.query.name + "</h1>"); // finds: javascript-xss
  res.send("<h1>" + escapeHtml(req.query.name) + "</h1>");
  res.json({ name: req.query.name });
  res.send({ name: req.query.name });
  res.status(400).send({ name: req.query.name });
  res.send([req.query.name]);
  res.status(400).send("No " + req.query.name); // finds: javascript-xss
});

app.get("/fetch", async (req, res) => {
  await fetch(req.query.url); // finds: javascript-ssrf
  await axios.get("http://" + req.query.host + "/status"); // finds: javascript-ssrf
  await fetch("https://api.example/search?q=" + encodeURIComponent(req.query.q));
});

app.get("/file", (req, res) => {
  fs.readFile("/srv/" + req.params.name, () => {}); // finds: javascript-path-traversal
  res.sendFile(path.join(__dirname, req.params.name)); // finds: javascript-path-traversal
  fs.readFile(path.join("/srv", path.basename(req.params.name)), () => {});
  fs.readFile("/srv/fixed.txt", () => {});
});

app.post("/objects", (req, res) => {
  serialize.unserialize(req.body.data); // finds: javascript-insecure-deserialization
  JSON.parse(req.body.data);
  _.merge({}, req.body); // finds: javascript-prototype-pollution
  _.merge({}, { name: "fixed" });
  libxmljs.parseXml(req.body.xml, { noent: true }); // finds: javascript-xxe
  libxmljs.parseXml(req.body.xml);
  xpath.select("//user[name='" + req.body.name + "']", doc); // finds: javascript-xpath-injection
  xpath.select("//user", doc);
  client.search("dc=a", { filter: "(uid=" + req.body.uid + ")" }, () => {}); // finds: javascript-ldap-injection
  client.search("dc=a", { filter: new EqualityFilter({ attribute: "uid", value: "a" }) }, () => {});
});

app.get("/leave", (req, res) => {
  res.redirect(req.query.next); // finds: javascript-open-redirect
});

app.get("/stay", (req, res) => {
  res.redirect(PAGES[req.query.page]);
  res.redirect("/home");
  res.redirect(`/people/${req.params.id}`);
  res.redirect("/people/" + req.params.id);
  res.redirect(`/${req.params.id}`); // finds: javascript-open-redirect
});

app.post("/session", (req, res) => {
  req.session.role = req.body.role; // finds: javascript-trust-boundary
  req.session.colour = "red";
  res.cookie("sid", req.query.sid, { secure: true, httpOnly: true }); // finds: javascript-session-fixation
  res.cookie("colour", req.query.colour, { secure: true, httpOnly: true });
});

app.post("/token", (req, res) => {
  jwt.verify(token, key, { algorithms: ["none"] }); // finds: javascript-jwt-unverified
  jwt.verify(token, key, { algorithms: ["RS256"] });
  jwt.decode(req.headers.authorization); // finds: javascript-jwt-decoded
  if (req.body.password === user.password) return; // finds: javascript-password-compared
  if (crypto.timingSafeEqual(a, b)) return;
  if (req.body.name === user.name) return;
  if (password === confirmPassword) return;
  if (req.body.password === req.body.passwordConfirm) return;
  const etag = crypto.createHash("sha1").update(token).digest("hex");
  console.log("signed in with", password); // finds: javascript-sensitive-exposure
  console.log("signed in", user.name);
  https.request({ host: "a.example", rejectUnauthorized: false }); // finds: javascript-tls-unverified
  https.request({ host: "a.example", rejectUnauthorized: true });
});

app.use((error, req, res, next) => {
  res.status(500).send(error.stack); // finds: javascript-error-exposed
  res.status(500).send("It failed.");
});

jwt.sign({ id: 1 }, "a fixed text"); // finds: javascript-hardcoded-secret
jwt.sign({ id: 1 }, process.env.JWT_KEY);
app.use(helmet({ contentSecurityPolicy: false })); // finds: javascript-misconfiguration
app.use(helmet());
app.use(cors({ origin: "*" })); // finds: javascript-cors
app.use(cors({ origin: ["https://a.example"] }));
app.use(session({ secret: process.env.KEY, cookie: { secure: false } })); // finds: javascript-insecure-cookie
app.use(session({ secret: process.env.KEY, cookie: { secure: true } }));

function hidden(key, iv, data) {
  crypto.createCipheriv("des-cbc", key, iv); // finds: javascript-weak-crypto
  crypto.createCipheriv("aes-128-ecb", key, iv); // finds: javascript-weak-crypto
  crypto.createCipheriv("aes-256-gcm", key, iv);
  crypto.createHash("md5").update(data); // finds: javascript-weak-hash
  crypto.createHash("sha256").update(data);
}

function drawn() {
  const token = Math.random().toString(36); // finds: javascript-weak-random
  const colour = Math.random() < 0.5 ? "red" : "blue";
  const safeToken = crypto.randomBytes(32).toString("hex");
  return [token, colour, safeToken];
}
