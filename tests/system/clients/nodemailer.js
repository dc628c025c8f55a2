// Sends what a job (see test_interop_clients.py) says with nodemailer, over one pooled connection.
const fs = require("fs"), nodemailer = require("nodemailer");
const job = JSON.parse(fs.readFileSync(process.argv[2]));
const say = (kind, text) => console.log(kind, String(text).replace(/\s+/g, " "));

async function main() {
  const pool = nodemailer.createTransport({
    host: job.host, port: job.port, secure: job.implicit, requireTLS: !job.implicit, pool: true,
    maxConnections: 1, auth: { user: job.user, pass: job.password }, authMethod: job.auth || undefined,
    tls: { ca: fs.readFileSync(job.ca) } });
  for (const m of job.messages) {
    try {
      const done = await pool.sendMail({
        from: { name: m.name, address: m.from }, to: m.to, cc: m.cc, bcc: m.bcc, subject: m.subject,
        text: m.text, html: m.html, attachments: [{ filename: m.attachment.name, path: m.attachment.path }] });
      say("reply", done.response);
    } catch (e) {
      say("error", e.message);
    }
  }
  pool.close();
}
main();
