<?php
// Sends what a job (see test_interop_clients.py) says with PHPMailer, over one kept connection.
require 'libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\Exception;
use PHPMailer\PHPMailer\PHPMailer;

function say(string $kind, string $text): void
{
    echo $kind, ' ', preg_replace('/\s+/', ' ', $text), "\n";
}

$job = json_decode(file_get_contents($argv[1]));
$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = $job->host;
$mail->Port = $job->port;
$mail->SMTPSecure = $job->implicit ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
$mail->SMTPOptions = ['ssl' => ['cafile' => $job->ca]];
$mail->SMTPAuth = true;
$mail->AuthType = $job->auth ?? '';
$mail->Username = $job->user;
$mail->Password = $job->password;
$mail->SMTPKeepAlive = true;
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$reply = '';
$mail->SMTPDebug = 2; // PHPMailer keeps the id only, and not the reply to AUTH
$mail->Debugoutput = function ($text) use (&$reply) {
    if (preg_match('/SERVER -> CLIENT: ((250 .*queued as|5).*)/', $text, $found)) {
        $reply = $found[1];
    }
};
foreach ($job->messages as $m) {
    try {
        $mail->clearAllRecipients();
        $mail->clearAttachments();
        $mail->Sender = ''; // else the first one's address remains the envelope's
        $mail->setFrom($m->from, $m->name);
        foreach (['to' => 'addAddress', 'cc' => 'addCC', 'bcc' => 'addBCC'] as $field => $add) {
            foreach ($m->$field as $address) {
                $mail->$add($address);
            }
        }
        $mail->Subject = $m->subject;
        $mail->isHTML(true);
        $mail->Body = $m->html;
        $mail->AltBody = $m->text;
        $mail->addAttachment($m->attachment->path, $m->attachment->name);
        $mail->send();
        if (strpos($reply, $mail->getSMTPInstance()->getLastTransactionID()) === false) {
            say('error', 'PHPMailer found another id: ' . $mail->getSMTPInstance()->getLastTransactionID());
        }
        say('reply', $reply);
    } catch (Exception $e) {
        say('error', $e->getMessage() . ' ' . $reply);
        $mail->getSMTPInstance()->reset();
    }
}
$mail->smtpClose();
