// Sends what a job (see test_interop_clients.py; a file of properties) says with JavaMail, over one connection.
import com.sun.mail.smtp.SMTPTransport;
import java.io.FileInputStream;
import java.io.FileReader;
import java.nio.charset.StandardCharsets;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.Properties;
import javax.mail.Message;
import javax.mail.MessagingException;
import javax.mail.Session;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeBodyPart;
import javax.mail.internet.MimeMessage;
import javax.mail.internet.MimeMultipart;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLSocketFactory;
import javax.net.ssl.TrustManagerFactory;

public class JavaMail {
    private static void say(String kind, String text) {
        System.out.println(kind + " " + String.valueOf(text).replaceAll("\\s+", " "));
    }

    private static SSLSocketFactory trusting(String ca) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (FileInputStream in = new FileInputStream(ca)) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, trust.getTrustManagers(), null);
        return context.getSocketFactory();
    }

    private static Session session(Properties job) throws Exception {
        boolean implicit = job.getProperty("implicit").equals("true");
        Properties p = new Properties();
        p.put("mail.transport.protocol", "smtp");
        // It looks for addresses in names of the certificate only, not among its addresses.
        p.put("mail.smtp.host", job.getProperty("host").replace("127.0.0.1", "localhost"));
        p.put("mail.smtp.port", job.getProperty("port"));
        p.put("mail.smtp.auth", "true");
        p.put("mail.smtp.ssl.enable", String.valueOf(implicit));
        p.put("mail.smtp.starttls.enable", String.valueOf(!implicit));
        p.put("mail.smtp.starttls.required", String.valueOf(!implicit));
        p.put("mail.smtp.ssl.checkserveridentity", "true");
        p.put("mail.smtp.socketFactory.fallback", "false");
        p.put("mail.smtp.ssl.socketFactory", trusting(job.getProperty("ca")));
        if (job.containsKey("auth")) {
            p.put("mail.smtp.auth.mechanisms", job.getProperty("auth"));
        }
        return Session.getInstance(p);
    }

    private static MimeBodyPart part(String text, String kind) throws MessagingException {
        MimeBodyPart part = new MimeBodyPart();
        part.setText(text, "UTF-8", kind);
        return part;
    }

    private static MimeMessage message(Session session, Properties job, String at) throws Exception {
        MimeMessage m = new MimeMessage(session);
        m.setFrom(new InternetAddress(job.getProperty(at + "from"), job.getProperty(at + "name"), "UTF-8"));
        m.setRecipients(Message.RecipientType.TO, InternetAddress.parse(job.getProperty(at + "to")));
        m.setRecipients(Message.RecipientType.CC, InternetAddress.parse(job.getProperty(at + "cc")));
        m.setRecipients(Message.RecipientType.BCC, InternetAddress.parse(job.getProperty(at + "bcc")));
        m.setSubject(job.getProperty(at + "subject"), "UTF-8");
        MimeMultipart texts = new MimeMultipart("alternative");
        texts.addBodyPart(part(job.getProperty(at + "text"), "plain"));
        texts.addBodyPart(part(job.getProperty(at + "html"), "html"));
        MimeBodyPart both = new MimeBodyPart();
        both.setContent(texts);
        MimeBodyPart file = new MimeBodyPart();
        file.attachFile(job.getProperty(at + "attachment.path"));
        file.setFileName(javax.mail.internet.MimeUtility.encodeText(
                job.getProperty(at + "attachment.name"), "UTF-8", null));
        m.setContent(new MimeMultipart("mixed", both, file));
        m.saveChanges();
        return m;
    }

    public static void main(String[] arguments) throws Exception {
        Properties job = new Properties();
        try (FileReader in = new FileReader(arguments[0], StandardCharsets.UTF_8)) {
            job.load(in);
        }
        Session session = session(job);
        SMTPTransport transport = (SMTPTransport) session.getTransport();
        for (int i = 0; job.containsKey(i + ".from"); i++) {
            try {
                if (!transport.isConnected()) {
                    transport.connect(job.getProperty("user"), job.getProperty("password"));
                }
                MimeMessage m = message(session, job, i + ".");
                transport.sendMessage(m, m.getAllRecipients());
                say("reply", transport.getLastServerResponse());
            } catch (MessagingException e) {
                say("error", e.getMessage() + " " + e.getNextException());
            }
        }
        transport.close();
    }
}
