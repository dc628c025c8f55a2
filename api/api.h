/*
 * The HTTP side of a worker: native API, health, metrics, and in development
 * mode the sandbox's captures and clock. It reaches the rest of the program
 * only through the door (relay/accept/submit.h), the credentials and the
 * queue's questions. README.md lists the routes.
 */
#ifndef STAGEPOST_API_API_H
#define STAGEPOST_API_API_H

#include <stdbool.h>

#include "relay/sys/base/err.h"
#include "relay/sys/config/config.h"
#include "relay/sys/net/loop.h"

struct api;
struct credentials;
struct net_proxies;
struct preflight;
struct queue;
struct submit_door;
struct tls_context;

struct api_parts { /* all borrowed until api_free() */
    struct loop *loop;
    const struct config *config;
    struct queue *queue;
    struct submit_door *door;
    struct credentials *credentials;
    struct preflight *preflight; /* for messages that are only judged; NULL: none */
};

struct api *api_new(const struct api_parts *parts);
/* Takes a listening descriptor over, also when it fails. May be called for
 * several. proxies: as for listener_trust_proxies(). -1 with err filled. */
int api_listen(struct api *a, int fd, const struct net_proxies *proxies, struct err *err);
/* The same with TLS from the first byte (http_server_listen_tls()). */
int api_listen_tls(struct api *a, int fd, const struct net_proxies *proxies,
                   struct tls_context *tls, struct err *err);
/* The same for the control socket: who can open it is an operator. */
int api_listen_control(struct api *a, int fd, struct err *err);
/* Accepts no more connections; requests under way are answered. */
void api_drain(struct api *a);
bool api_busy(const struct api *a); /* whether requests are under way */
void api_free(struct api *a);       /* not while busy; NULL is fine */

#endif
