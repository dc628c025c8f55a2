# Sends what a job (see test_interop_clients.py) says with Ruby's mail.
require "json"
require "mail"

job = JSON.parse(File.read(ARGV[0]))

def say(kind, text)
  puts "#{kind} #{text.to_s.gsub(/\s+/, ' ')}"
end

Mail.defaults do
  delivery_method :smtp, address: job["host"], port: job["port"], domain: "ruby.example",
                         user_name: job["user"], password: job["password"],
                         authentication: (job["auth"] || "plain").downcase.to_sym, tls: job["implicit"],
                         enable_starttls: !job["implicit"], ca_file: job["ca"], return_response: true
end

job["messages"].each do |m|
  mail = Mail.new(charset: "UTF-8")
  mail.from = Mail::Address.new.tap { |a| a.address = m["from"]; a.display_name = m["name"] }.encoded
  mail.to, mail.cc, mail.bcc, mail.subject = m["to"], m["cc"], m["bcc"], m["subject"]
  mail.text_part = Mail::Part.new(content_type: "text/plain; charset=UTF-8", body: m["text"])
  mail.html_part = Mail::Part.new(content_type: "text/html; charset=UTF-8", body: m["html"])
  mail.attachments[m["attachment"]["name"]] = File.binread(m["attachment"]["path"])
  begin
    say("reply", mail.deliver!.string)
  rescue StandardError => e
    say("error", e.message)
  end
end
