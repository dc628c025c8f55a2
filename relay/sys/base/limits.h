/*
 * Every number that a stranger can push against, with its reason. A module
 * uses the name; no such number stands anywhere else.
 */
#ifndef STAGEPOST_BASE_LIMITS_H
#define STAGEPOST_BASE_LIMITS_H

enum {
    /* SMTP server */
    SMTP_COMMAND_LINE_MAX = 2048, /* with CRLF; RFC 5321 4.5.3.1.4 asks 512 plus what
                                     extensions add (SIZE, DSN, SMTPUTF8): 2048 holds all */
    SMTP_AUTH_LINE_MAX = 12288,   /* RFC 4954 4: 12288 octets of base64 */
    SMTP_DISCARD_MAX = 65536,     /* of an overlong line, then 421 and close */
    SMTP_TEXT_LINE_MAX = 1000,    /* with CRLF, RFC 5321 4.5.3.1.6 */
    SMTP_RECIPIENTS_MAX = 1000,   /* RFC 5321 4.5.3.1.8 asks at least 100 */
    SMTP_ERRORS_SOFT = 10,        /* from then on each error is answered late */
    SMTP_ERRORS_HARD = 20,        /* then 421 and close */
    SMTP_JUNK_MAX = 100,          /* NOOP, RSET, VRFY, HELP between messages */
    SMTP_AUTH_FAILURES_MAX = 3,   /* per connection */
    SMTP_SESSIONS_MAX = 2000,     /* per worker; 421 to the rest */
    SMTP_TRANSACTION_ARENA_MAX = 1 << 20,
    SMTP_COMMAND_TIMEOUT_MS = 300000,    /* RFC 5321 4.5.3.2.7: 5 minutes */
    SMTP_DATA_TIMEOUT_MS = 300000,       /* between pieces of DATA; 4.5.3.2.5: 3 minutes at least */
    SMTP_TLS_TIMEOUT_MS = 60000,         /* for the whole handshake */
    SMTP_ERROR_DELAY_MS = 1000,          /* of an answer above SMTP_ERRORS_SOFT */
    SMTP_DRAIN_GRACE_MS = 10000,         /* for the rest of a message when the server stops */
    SMTP_DATA_PROGRESS_BYTES = 16 << 10, /* that restart SMTP_DATA_TIMEOUT_MS: 55 bytes/s */
    SMTP_OVERSIZE_DISCARD_MAX = 16 << 20, /* read of a message beyond the limit, then closed */
    SMTP_INPUT_MAX = 64 << 10,            /* buffered of one session; holds every line */
    SMTP_REPLY_MAX = 4096,        /* of ours: EHLO with its keywords, one address in a text */
    SMTP_LISTENERS_MAX = 8,       /* 587, 465, 25, 2525, each for IPv4 and IPv6 */
    MESSAGE_BYTES_MAX = 50 << 20, /* SIZE that we announce */

    /* The door */
    SUBMIT_ARENA_MAX = 4 << 20,             /* API_RECIPIENTS_MAX recipients with their options */
    ACCEPT_BYTES_IN_MEMORY_MAX = 512 << 20, /* of messages and envelopes, per worker; then 452 */

    /* Configuration file */
    CONFIG_FILE_BYTES_MAX = 4 << 20, /* thousands of credentials at 300 bytes each */
    CONFIG_PROBLEMS_MAX = 200,       /* named in one run; the rest is counted */
    CONFIG_ENTRIES_MAX = 10000,      /* of one list */
    CONFIG_LISTENERS_MAX = 16,       /* descriptors that each worker inherits */
    CONFIG_HASH_MIN = 50,            /* shorter ones are a setting without the hash */
    CONFIG_PASSWORD_MAX = 512,       /* for another Redis */
    CONFIG_HASH_MAX = 384,           /* a crypt(5) hash; yescrypt has 73 characters */

    /* Credentials */
    CREDENTIAL_HASHES_MAX = 256,   /* checks running (4 threads, 16 MB each) or waiting per worker:
                                       the last of them waits about 2 s */
    CREDENTIAL_CACHE_SLOTS = 1024, /* right passwords remembered, 40 bytes each */
    CREDENTIAL_CACHE_MS = 300000,  /* libraries forget a connection after minutes, not hours */
    CREDENTIAL_SETTLE_MS = 2000,   /* until none of them commits what was begun before */
    CREDENTIAL_POLL_MS = 1000,     /* until all workers know what an operator changed */
    CREDENTIAL_FIRST_POLL_MS =
        20,                     /* until a new worker knows the credentials: nobody may use one */
    CREDENTIAL_KNOWN_MS = 1250, /* the same, with time for Redis: then the operator is answered */
    CREDENTIAL_QUOTA_MAX = 1000000000,   /* a number that Lua and we count exactly */
    CREDENTIAL_MARK_NAME_MAX = 256,      /* a NUL and the longest user name of a file */
    CREDENTIAL_KEY_AS_PASSWORD_MIN = 20, /* characters: nothing shorter has 128 random bits */

    /* SCRAM: what a client is made to compute, and what it may send */
    SCRAM_ITERATIONS_MIN = 4096,    /* RFC 7677 4 */
    SCRAM_ITERATIONS_MAX = 1000000, /* a second of a small client */
    SCRAM_ITERATIONS = 65536,       /* of keys made here: 30 ms */
    SCRAM_SALT_MIN = 8,
    SCRAM_SALT_MAX = 64,
    SCRAM_SALT = 16,           /* octets of a salt made here */
    SCRAM_USER_MAX = 255,      /* as a user's name in the configuration */
    SCRAM_PASSWORD_MAX = 1024, /* to make keys of */
    SCRAM_MESSAGE_MAX = 2048,  /* a name with all its octets escaped (765), a nonce, a channel
                                  binding; libraries send nonces of 50 characters */

    /* Wrong passwords (queue/guard.c); a network is an IPv4 address or a /64 */
    GUARD_NETWORK_FREE = 5,      /* failures of a network, before it has to wait */
    GUARD_KNOWN_FREE = 100,      /* of one from which the account was used before: an office
                                    with one client that has an old password */
    GUARD_ACCOUNT_FREE = 20,     /* at an account, before networks that failed wait longer */
    GUARD_PAUSE_FIRST_MS = 1000, /* doubled by every failure */
    GUARD_PAUSE_MAX_MS = 900000, /* nobody is locked out for longer than 15 minutes */
    GUARD_MEMORY_MS = 3600000,   /* after the last failure; 100 bytes for each network */
    GUARD_KNOWN_S = 30 * 86400,  /* that a network is remembered for an account */

    /* Addresses, RFC 5321 4.5.3.1 */
    ADDRESS_LOCAL_MAX = 64,
    ADDRESS_DOMAIN_MAX = 253, /* without the trailing dot: RFC 1035 2.3.4 */
    ADDRESS_LABEL_MAX = 63,
    ADDRESS_PATH_MAX = 254,      /* RFC 3696 erratum 1690: 256 less the brackets */
    ADDRESS_CANONICAL_MAX = 512, /* a local part in quotes, every character escaped, and a domain
                                    that became A-labels */
    ENVID_MAX = 100,             /* RFC 3461 4.4, decoded */
    ORCPT_MAX = 500,             /* RFC 3461 4.2 */

    /* What is kept of texts for people, relay/wire/envelope.h */
    ENVELOPE_SUBJECT_MAX = 256, /* enough to recognise a message in a list */
    VERDICT_TEXT_MAX = 1024,    /* two reply lines of RFC 5321 4.5.3.1.5 */

    /* Header section */
    HEADER_SECTION_MAX = 256 << 10,
    HEADER_FIELD_MAX = 64000, /* libopendkim signs wrongly above 65535 */
    HEADER_FIELDS_MAX = 1000,
    HEADER_ADDED_MAX = 4096,   /* Received, Date and Message-ID of ours: names and addresses
                                  of at most 254 octets each, and the signatures not */
    HEADER_NAME_MAX = 77,      /* so that name, colon, space and text fit one line of 78 */
    RECEIVED_FIELDS_MAX = 100, /* loop, RFC 5321 6.3 */

    /* SMTP client */
    REPLY_LINE_KEPT_MAX = 2048,
    REPLY_LINE_MAX = 65536,
    REPLY_LINES_MAX = 100,
    REPLY_BYTES_MAX = 65536,
    EHLO_KEYWORDS_MAX = 64,
    MX_HOSTS_MAX = 20,              /* names looked at of one MX set */
    MX_ADDRESSES_MAX = 10,          /* addresses tried in one attempt */
    RCPT_PER_TRANSACTION_MAX = 100, /* RFC 5321 4.5.3.1.8: what every server must take */
    MESSAGES_PER_CONNECTION_MAX = 100,
    CLIENT_INPUT_BYTES = 2 * 65536, /* more than REPLY_BYTES_MAX: a longer reply is seen as such */
    CLIENT_BODY_PIECE = 64 << 10,   /* dot-stuffed and handed to the stream at once */
    VERDICT_RECORD_MAX = 2048,      /* a verdict as the queue keeps it */
    CLIENT_KEPT_BYTES = 16 << 10,   /* of output memory while idle */
    DIAL_TOTAL_MS = 600000,         /* then no further address is tried in this attempt */
    DIAL_STAGGER_MS = 250,          /* then the host's next address too (RFC 8305 5) */
    DIAL_RACES_MAX = 100,           /* second connections of one worker: descriptors */
    CLIENT_CONNECT_MS = 30000,      /* per address; longer ones are of no use to anybody */
    CLIENT_TLS_MS = 120000,         /* for the handshake */
    CLIENT_COMMAND_MAX = 4096,      /* MAIL and RCPT: an address, ENVID, ORCPT in xtext */
    CLIENT_OUTPUT_MAX = 1 << 20,    /* commands of one transaction, or one piece of text */
    CLIENT_QUIT_MS = 5000,          /* for the reply to QUIT */
    CLIENT_DOT_WITHHELD_MS = 60000, /* for our own queue; peers wait 3 minutes at least */
    CLIENT_DOT_ASK_MS = 50,         /* between questions to a queue whose lease is late */
    ATTEMPT_BROKEN_OFF_MAX = 2,     /* connections lost in the middle: it may be the message */
    ATTEMPT_ARENA_MAX = 4 << 20,    /* SMTP_RECIPIENTS_MAX verdicts with text, and the event */
    EVENT_BYTES_MAX = 3 << 20,      /* one attempt at SMTP_RECIPIENTS_MAX recipients */
    POOL_IDLE_MS = 10000,           /* an idle connection is kept for its site */
    SITE_BACKOFF_MS = 3000,         /* nothing is tried after all hosts failed */
    SITE_READY_MAX = 500,           /* attempts of a class waiting in memory; the rest goes back */
    SITE_BULK_TURN = 5,             /* bulk has every fifth turn while transactional mail waits */
    SITE_MOVING_DELAY_MS = 100,     /* for what goes back while the site takes mail */
    SITE_STUCK_DELAY_MS = 2000,     /* and while it does not */
    SITE_EARN_SUCCESSES = 10,       /* deliveries for one more connection after a complaint */
    HOSTS_REMEMBERED_MAX = 4096,    /* then the oldest are forgotten */
    HOST_TLS_BROKEN_MS = 600000,    /* then STARTTLS is tried again */
    HOP_ROUTE_KEPT_MS = 60000,      /* at most, and never longer than the TTL */
    HOP_FAILURE_KEPT_MS = 5000,     /* a route that could not be found */
    HOP_SWEEP_MS = 30000,
    AWAY_DELAY_MS = 1000,                    /* a job comes again when the queue was away */
    DELIVER_DRAIN_GRACE_MS = 10000,          /* for transactions whose dot is not out */
    DELIVER_BYTES_IN_MEMORY_MAX = 256 << 20, /* read back from the queue for attempts, per worker:
                                                500 connections of 50 MB each are 25 GB */
    DELIVER_SMALL_BYTES = 256 << 10,         /* not counted: 500 of them are 128 MB */
    DELIVER_ROOM_WAIT_MS = 5000,   /* on a connection; then that one takes another message */
    BOUNCE_SIGN_TRIES = 3,         /* then the report goes without a signature */
    BOUNCE_SIGN_PAUSE_MS = 5000,   /* a signer restarts within that */
    BOUNCE_ARENA_MAX = 2 << 20,    /* what a report says of 1000 recipients */
    ENVELOPE_RECORD_MAX = 8192,    /* addresses, ids and a subject, each with a limit of its own */
    BOUNCE_OVERHEAD_MAX = 4 << 20, /* report without the original: 1000 recipients */

    /* HTTP */
    HTTP_HEADER_BYTES_MAX = 32768,
    HTTP_HEADERS_MAX = 100,
    HTTP_URL_MAX = 8192,
    HTTP_BODY_MAX = 70 << 20,    /* a message of MESSAGE_BYTES_MAX in base64 */
    HTTP_CONNECTIONS_MAX = 1000, /* per worker */
    HTTP_IDLE_TIMEOUT_MS = 75000,
    HTTP_TLS_TIMEOUT_MS = 20000,           /* for the whole handshake */
    HTTP_REQUEST_TIMEOUT_MS = 60000,       /* for the head of a request; its body has as long for
                                              each HTTP_BODY_PROGRESS_BYTES */
    HTTP_BODY_PROGRESS_BYTES = 3 << 10,    /* 51 bytes/s, as slow as SMTP_DATA_PROGRESS_BYTES */
    HTTP_BODY_TIMEOUT_MS = 1800000,        /* for the whole of it: HTTP_BODY_MAX at 330 kbit/s */
    HTTP_REQUEST_ARENA_MAX = 512 << 10,    /* a head, its query, 1000 recipients */
    HTTP_CHUNK_LINE_MAX = 256,             /* size and extensions; nobody sends extensions */
    HTTP_TRAILER_MAX = 8192,               /* read over, as a small header section */
    HTTP_QUERY_PAIRS_MAX = 1024,           /* every recipient of a raw message */
    HTTP_BODIES_IN_MEMORY_MAX = 256 << 20, /* of all requests being read, per worker; then 503 */
    HTTP_LINGER_TIMEOUT_MS = 5000, /* reading on after a refusal, so that it is not lost to RST */
    HTTP_DRAIN_GRACE_MS = 10000,   /* for the rest of a request, or of an answer, at the end */
    HTTP_INPUT_MAX = 64 << 10,     /* a head and some of what follows; more waits in the kernel */
    IDEMPOTENCY_KEY_MAX = 256,
    API_RECIPIENTS_MAX = 1000,
    API_ATTACHMENTS_MAX = 100,
    API_HEADERS_MAX = 100,           /* custom header fields of one message */
    API_HEADER_VALUE_MAX = 4096,     /* of one of them, before encoding */
    API_SUBJECT_MAX = 998,           /* RFC 5322 2.1.1, before encoding */
    API_NAME_MAX = 320,              /* a display name, before encoding */
    API_FILENAME_MAX = 255,          /* what file systems take */
    API_TYPE_MAX = 255,              /* a media type with its parameters; RFC 6838 4.2: 127 / 127 */
    API_MESSAGE_ARENA_MAX = 4 << 20, /* names and addresses of 1000 recipients */
    API_TOKEN_MAX = 900, /* a word that cannot be folded; a line holds 998, RFC 5322 2.1.1 */
    API_TYPE_PARAMETERS_MAX = 8, /* of one media type */
    API_CONTENT_ID_MAX = 128,
    API_ERRORS_MAX = 20,                 /* field errors shown in one answer */
    API_JSON_DEPTH_MAX = 16,             /* ours is 4 deep */
    API_JSON_VALUES_MAX = 20000,         /* a tree costs 100 bytes and more for each */
    API_JSON_INLINE_MAX = 256 << 10,     /* larger bodies go to the work pool: 16 ns a byte */
    API_WORK_PENDING_MAX = 64,           /* bodies waiting for the pool; then 503 */
    API_ANSWER_MAX = 16 << 20,           /* a status of 1000 recipients, a list of captures */
    API_RECIPIENTS_BODY_MAX = 512 << 10, /* a list of API_RECIPIENTS_MAX addresses */
    API_LIST_DEFAULT = 25,               /* entries of a list whose request names no number */
    API_SOURCES_AT_ONCE = 8,             /* messages being read back to be shown; then 503 */
    API_SOURCES_UNSENT_MAX = 128 << 20,  /* of answers that nobody reads: then no more of them */
    API_EVENTS_ARENA_MAX = 16 << 20,     /* a message of 1000 recipients and its whole trace */
    API_CLOCK_ADVANCE_DAYS_MAX = 3650,   /* in one step; the schedule never runs out of years */

    /* HTTP, the sending side */
    API_UNSUBSCRIBE_URI_MAX = 850, /* with "<mailto:" and ">," a word of a header field */
    LINT_FINDINGS_MAX = 40,        /* a message with more is said to be wrong often enough */
    LINT_DETAIL_MAX = 600,         /* PREFLIGHT_TEXT_MAX and an address */
    LINT_LARGE_BYTES = 25 << 20,   /* Gmail, Outlook; Yahoo takes a little more */
    API_BATCH_MAX = 100,           /* messages of one request; each has an arena of its own */
    API_BATCH_AT_ONCE = 8,         /* of them at the door; other clients want signers too */

    /* What a sender wishes for a message, at both doors */
    WISH_SEND_AT_DAYS_MAX = 30,
    WISH_TTL_S_MAX = 30 * 86400, /* the configuration's own limit is the lower one, as a rule */
    WISH_TAGS_MAX = 10,
    WISH_TAG_MAX = 64, /* bytes of a tag, and of a name in the metadata */
    WISH_METADATA_MAX = 50,
    WISH_METADATA_VALUE_MAX = 512,
    WISH_LABELS_MAX = 4096, /* bytes of all tags, and of the metadata, kept with a message */

    /* Reports */
    DSN_DIAGNOSTIC_MAX = 2048,            /* of a remote's text, for each recipient of a report */
    NDR_DELAY_ASKED_MS = 4 * 3600 * 1000, /* NOTIFY=DELAY, and the configuration names no time:
                                             RFC 3461 leaves it to us */
    DSN_RETURN_MAX = 10 << 20,            /* of an original returned whole, which encoded may be
                                             three times as long; above it, its header */

    /* Queue */
    QUEUE_CHUNK_BYTES = 256 << 10, /* one write of a body; larger ones stall Redis */
    QUEUE_RECORD_MAX = 4 << 20,
    QUEUE_BULK_REPLY_MAX = 64 << 20, /* a longer bulk string in a reply is not Redis */
    QUEUE_BODIES_IN_MEMORY_MAX = 256 << 20,
    QUEUE_REPLY_ELEMENTS_MAX = 1 << 20,         /* of one array: above it, it is not Redis */
    QUEUE_REPLY_LINE_MAX = 64 << 10,            /* an error or integer line of a reply */
    QUEUE_DELIVERIES_MAX = SMTP_RECIPIENTS_MAX, /* every recipient its own next hop */
    QUEUE_TARGETS_MAX = SMTP_RECIPIENTS_MAX,
    QUEUE_FIELD_MAX = 1 << 20,             /* one opaque field of a record */
    QUEUE_DISK_RESERVE_MAX = 256 << 20,    /* kept for outcomes: about a million attempts */
    QUEUE_DISK_RESERVE_PART = 16,          /* and of a small disk one part of so many */
    QUEUE_CHUNK_TTL_S = 900,               /* orphans of a commit that never came: longer than
                                              any commit is waited for, the slowest upload included */
    QUEUE_COMPRESS_LEAST = 1 << 10,        /* below it zstd wins nothing */
    QUEUE_COMPRESS_INLINE_MAX = 256 << 10, /* about 1 ms at level 1; larger ones off the loop */
    QUEUE_COMPRESS_PENDING_MAX = 64,       /* compressions off the loop at once; others go plain */
    QUEUE_SCAN_PAGE = 128,                 /* entries of the schedule read at once */
    QUEUE_SCANS_MAX = 8,                   /* partitions read at once */
    QUEUE_NOTICES_IN_MEMORY_MAX = 16,      /* each holds a whole original message */
    QUEUE_GATHER_MS = 5000,                /* most deliveries of a message end within that */
    QUEUE_GATHER_FEW = 16,                 /* so many reports of one message are no flood */
    QUEUE_GATHERING_MAX = 10000,           /* messages; what comes then does not wait */
    QUEUE_TOMBSTONE_TTL_S = 86400,         /* a cancelled commit cannot be under way for longer */
    QUEUE_CRASHES_MAX = 3,                 /* then the delivery is held as poison */
    QUEUE_TRIM_BATCH = 32,                 /* history entries dropped in one call */
    QUEUE_COMMAND_MAX = 16 << 20,       /* one command of ours: four records of the largest size */
    QUEUE_PIPELINE_BYTES_MAX = 4 << 20, /* sent to one link and not answered; the rest waits */

    /* Queue: index, questions and operators */
    QUEUE_SUBMITTER_MAX = 255,        /* a credential's user name */
    QUEUE_TRACE_RECORD_MAX = 8 << 10, /* one attempt at SMTP_RECIPIENTS_MAX recipients */
    QUEUE_ACTIONS_AT_ONCE = 16,       /* deliveries of a message, messages of a sweep */
    QUEUE_ACTION_ROUNDS_MAX = 8,      /* a record that changes more often is being worked on */
    QUEUE_SUMMARY_ROWS_MAX = 100,     /* rows in one answer */
    QUEUE_SUMMARY_TABLE_MAX = 8192,   /* rows counted for one answer */
    QUEUE_SUMMARY_LANES_MAX = 1024,   /* read of one partition, the fullest first */
    QUEUE_SUMMARY_LOOK_MAX = 500,     /* deliveries looked at in one partition; about 1 ms */
    QUEUE_SUMMARY_SAMPLES = 8,        /* records read for one row */
    QUEUE_LIST_LIMIT_MAX = 100,       /* messages in one answer */
    QUEUE_LIST_EXAMINED_MAX = 1000,   /* messages read for one answer, however few of them fit */
    QUEUE_LIST_PAGE = 8,              /* ids of one partition read at once */
    QUEUE_LIST_PAGES_MAX = 2048,      /* such pages read for one answer */

    /* Allowances */
    QUEUE_REGISTRY_VALUE_MAX = 64 << 10, /* one record of an operator: 1000 senders */
    QUEUE_REGISTRY_ENTRIES_MAX = 2000,   /* of one kind: every worker has them in memory, and
                                            one reply brings them */
    QUEUE_SEEN_RECIPIENTS_MAX = 100000,  /* of one credential: 10 MB; the oldest are forgotten */

    /* DNS */
    DNS_RECORDS_MAX = 512,         /* kept of one answer; no honest MX or TXT set comes near */
    DNS_RDATA_BYTES_MAX = 1 << 18, /* of one answer: 64 KB of packet, names written out */
    DNS_QUESTIONS_MAX = 4096,      /* asked and not yet answered by one resolver */
    ROUTE_DNS_TIMEOUT_MS = 10000,  /* per question; libunbound's own end is 20 to 48 s */
    ROUTE_HOSTS_AT_ONCE = 5,       /* MX hosts whose addresses are asked for together */
    MX_ADDRESSES_PER_HOST_MAX = 5, /* so that at least two hosts of an MX set are tried */

    /* Sandbox (development mode, loopback only) */
    SANDBOX_CAPTURES_MAX = 10000,       /* files kept; the oldest go first */
    SANDBOX_DKIM_TXT_MAX = 4000,        /* RSA-4096 is 750; one UDP answer or TCP */
    SANDBOX_UDP_PAYLOAD_MAX = 1232,     /* no IP fragments, DNS flag day 2020 */
    SANDBOX_DNS_TCP_MAX = 100,          /* connections */
    SANDBOX_DNS_TCP_IDLE_MS = 10000,    /* RFC 7766 6.2.3: a few seconds */
    SANDBOX_MX_SESSIONS_MAX = 2000,     /* 421 to the rest; each worker may have 500 */
    SANDBOX_MX_TIMEOUT_MS = 300000,     /* RFC 5321 4.5.3.2.7: 5 minutes */
    SANDBOX_MX_UNSAVED_MAX = 256 << 20, /* bytes of messages being received or written */
    SANDBOX_MX_SLOW_MS = 5000,          /* before each reply to slow@ */
    SANDBOX_GREYLIST_MAX = 65536,       /* pairs remembered; then forgotten all at once */
    SANDBOX_BATCHES_MAX = 2,            /* store batches on the work pool at a time */
    SANDBOX_BATCH_CAPTURES_MAX = 64,    /* files that are synced as one batch */
    SANDBOX_META_LINE_MAX = 1 << 19,    /* first line of a capture: 1000 recipients fit */
    SANDBOX_SUBJECT_MAX = 998,          /* bytes of the subject that are shown */
    SANDBOX_LIST_MAX = 10000,           /* captures in one listing: all that are kept */
    /* Connections */
    STREAM_READ_MIN = 4 << 10,          /* first read of an idle connection: what it costs us */
    STREAM_READ_MAX = 64 << 10,         /* one read of a busy one */
    STREAM_WRITE_MAX = 256 << 10,       /* handed to the kernel at once: others have their turn,
                                           and progress of a large body can be seen */
    STREAM_TLS_RECORD_MAX = 16 << 10,   /* RFC 8446 5.1: plaintext of one record */
    STREAM_TLS_WRITE_MAX = 64 << 10,    /* encrypted ahead of the socket */
    STREAM_TLS_BACKLOG_MAX = 1 << 20,   /* of answers that a peer provokes and does not read */
    STREAM_CLOSE_TIMEOUT_MS = 5000,     /* to flush and to see the peer's FIN after ours */
    STREAM_CLOSE_DISCARD_MAX = 1 << 20, /* read and dropped meanwhile, so that our last reply
                                           is not destroyed by a reset */
    LISTEN_BACKLOG = 1024,
    LISTEN_ACCEPTS_PER_TURN = 32,     /* established connections have their turn as well */
    LISTEN_RESERVED_DESCRIPTORS = 64, /* or a quarter of the limit: not for connections to us;
                                         half of them for those of a unix socket */
    LISTEN_FULL_RETRY_MS = 100,       /* out of descriptors: connections wait in the backlog */
    /* PROXY protocol */
    PROXY_HEADER_MAX = 1024, /* addresses are 52 octets; proxies add names, ids and TLS facts */
    PROXY_HEADER_TIMEOUT_MS = 5000, /* proxies send it at once; RFC 5321's clients wait for 5 min */
    PROXY_WAITS_MAX = 1000,         /* per listener and worker, without a header yet */
    PROXY_NETWORKS_MAX = 100,       /* of one listener */

    /* Signer channel */
    FRAME_BYTES_MAX = 1 << 20,
    SIGN_FIELDS_MAX = 100,            /* libopendkim cuts h= at 4096 bytes: about 208 fields */
    SIGN_PIECE_BYTES = 64 << 10,      /* about 1 ms of canonicalising: one turn's work */
    SIGN_JOBS_PER_CONNECTION = 16,    /* begun and not answered; each holds a header section */
    SIGN_OUTSTANDING_BYTES = 8 << 20, /* per worker; one larger message travels alone */
    SIGN_SHORT_BYTES = 128 << 10,     /* such messages overtake longer ones that wait */
    SIGN_WAIT_MS = 10000,             /* until a signer takes a job: one restart */
    SIGN_SILENCE_MS = 15000,          /* 50 MB are signed in about a second */
    SIGNATURE_BYTES_MAX = 8192,       /* 100 field names, RSA-4096 */
    SIGNER_CONNECTIONS_MAX = 128,     /* workers of one machine, twice */
    SIGNER_DRAIN_MS = 3000,
    SIGNERS_MAX = 64,
    KEYS_PER_DOMAIN_MAX = 4,
    KEY_FILE_BYTES_MAX = 16384,      /* RSA-4096 has 3.3 KB, some have text before it */
    CERT_FILE_BYTES_MAX = 256 << 10, /* a chain of 50 certificates */
    KEY_RECORD_MAX = 1024,           /* TXT value of a public key: RSA-4096 has 750 bytes */
    KEY_RSA_BITS_MIN = 1024,         /* RFC 8301 3.2 */
    KEY_RSA_BITS_MAX = 4096,

    /* Policy: would receivers believe it? */
    EGRESS_MAX = 16,               /* addresses that mail leaves from; each is a check of SPF */
    PREFLIGHT_WAIT_MS = 2000,      /* at the door, for answers that are not known yet */
    PREFLIGHT_WAIT_AGAIN_MS = 100, /* where 2 s were in vain before: enough for the first answer */
    PREFLIGHT_SILENCE_MS = 30000,  /* DNS that answered nothing for 2 s is believed to be dead */
    PREFLIGHT_ENTRIES_MAX = 2048,  /* pairs of domains remembered, 1 KB each; the oldest go */
    PREFLIGHT_PROBES_MAX = 32,     /* pairs being asked about, 40 KB each; others are late */
    PREFLIGHT_KEPT_S = 900,        /* an answer, at most, however long its TTL */
    PREFLIGHT_KEPT_LEAST_S = 60,   /* and at least, however short */
    PREFLIGHT_BAD_KEPT_S = 60,     /* what must be mended: so that mending shows */
    PREFLIGHT_UNKNOWN_KEPT_S = 15, /* DNS trouble */
    PREFLIGHT_STALE_S = 3600,      /* a good answer serves while it is asked for anew */
    PREFLIGHT_TEXT_MAX = 256,      /* what to publish, as said to the sender */

    /* Policy records of strangers */
    TXT_BYTES_MAX = 4096,             /* of one TXT record that is looked at */
    DMARC_QUESTIONS_MAX = 8,          /* RFC 9989 4.10 */
    DMARC_TAGS_MAX = 32,              /* of one record; RFC 9989 knows ten */
    SPF_RECORD_MAX = 2048,            /* libspf2 writes beyond its stack from about 4 kB up */
    SPF_LOOKUPS_MAX = 10,             /* RFC 7208 4.6.4: terms that ask DNS */
    SPF_VOID_LOOKUPS_MAX = 2,         /* RFC 7208 4.6.4 */
    SPF_HOSTS_PER_MX_MAX = 10,        /* RFC 7208 4.6.4 */
    SPF_PTR_NAMES_MAX = 10,           /* RFC 7208 4.6.4: names of an address that are looked up */
    SPF_QUESTIONS_MAX = 40,           /* DNS questions of one check, whatever it is made of */
    CHECK_FRAME_MAX = 64 << 10,       /* the answer to one DNS question */
    CHECK_CPU_S = 5,                  /* of one check; an honest one takes about 10 us */
    CHECK_WAIT_MS = 20000,            /* for one check, DNS included: RFC 7208 4.6.4 */
    CHECK_DNS_TIMEOUT_MS = 5000,      /* per question */
    CHECKER_MEMORY_BYTES = 256 << 20, /* address space of the checker */
    CHECK_LANES = 4,                 /* checks under way in one worker; each mostly waits for DNS */
    CHECK_CRASHES_MAX = 3,           /* checkers that one domain may end */
    CHECK_CRASHED_MAX = 64,          /* such domains remembered; then the oldest is forgotten */
    CHECK_CRASHED_KEPT_MS = 3600000, /* an hour: the record may have been mended */
    CHECKER_CONNECTIONS_MAX = 256,   /* lanes of the workers of one machine, twice */
    CHECK_PTR_NAMES_MAX = 4,         /* names of one address that are looked up */
    CHECK_DOMAIN_IPS_MAX = 16,       /* of one command line */

    /* Commands that ask a running gateway */
    CLI_TIMEOUT_MS = 60000,      /* for one request and its answer */
    CLI_PATIENCE_MS = 20000,     /* while a gateway is started anew: Redis needs some seconds */
    CLI_ANSWER_MAX = 72 << 20,   /* a message of MESSAGE_BYTES_MAX as it is stored */
    CLI_TABLE_CELLS_MAX = 20000, /* of one table: a hundred rows of an answer, many times */
    CLI_CELL_MAX = 200,          /* bytes shown of one text: a reply's first line */

    /* Backups */
    BACKUP_FILES_MAX = 256,     /* Redis has two or three, one more for each rewrite that failed */
    BACKUP_LIST_MAX = 64 << 10, /* a list of so many files, a line each */
};

/* Recipients of a credential are remembered for 90 days. */
#define QUEUE_SEEN_RECIPIENTS_MS (90ll * 86400 * 1000)

#endif
