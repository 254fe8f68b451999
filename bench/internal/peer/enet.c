//go:build enet && cgo && linux

#define _GNU_SOURCE
#include "enet.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

enum {
	SOCKET_BUFFER = 4 << 20,
	FEW_PEERS = 128,
	PING_INTERVAL = 3600 * 1000, // ms: no keep-alive
	WAIT = 10,                   // ms, also how late a repetition may be if nothing else happens
};

struct server {
	ENetHost *host;
	size_t most; // peers
	atomic_int stop;
};

server *server_open(uint32_t address, uint16_t *port, int channels) {
	server *s = calloc(1, sizeof *s);
	ENetAddress at = {.host = address};
	if (s == NULL || enet_initialize() != 0 ||
	    (s->host = enet_host_create(&at, ENET_PROTOCOL_MAXIMUM_PEER_ID, channels, 0, 0)) == NULL ||
	    enet_socket_get_address(s->host->socket, &at) != 0) {
		server_close(s);
		return NULL;
	}
	enet_socket_set_option(s->host->socket, ENET_SOCKOPT_RCVBUF, SOCKET_BUFFER); // as much as the system allows
	enet_socket_set_option(s->host->socket, ENET_SOCKOPT_SNDBUF, SOCKET_BUFFER);
	// Each call walks over all peers that the host has room for. A user makes
	// that as many as are expected; here it grows with those that come.
	s->most = s->host->peerCount;
	s->host->peerCount = FEW_PEERS;
	*port = at.port;
	return s;
}

int server_answer(ENetPeer *peer, const void *data, size_t size) {
	ENetPacket *p = enet_packet_create(data, size, ENET_PACKET_FLAG_RELIABLE);
	if (p == NULL)
		return -1;
	if (enet_peer_send(peer, 0, p) != 0)
		enet_packet_destroy(p); // the peer has gone
	return 0;
}

void server_welcome(server *s, ENetPeer *peer) {
	ENetHost *host = s->host;
	enet_peer_ping_interval(peer, PING_INTERVAL);
	if (2 * host->connectedPeers > host->peerCount)
		host->peerCount = 2 * host->peerCount < s->most ? 2 * host->peerCount : s->most;
}

ENetHost *server_host(server *s) { return s->host; }

int server_stopped(server *s) { return atomic_load_explicit(&s->stop, memory_order_relaxed); }

// server_next works until there is a message that it does not echo itself: 1. At
// the end it returns 0, after an error -1.
int server_next(server *s, int echo, ENetEvent *event) {
	ENetHost *host = s->host;
	while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
		// What came before is given out first; once nothing is left, answers go out together.
		int n = enet_host_service(host, event, WAIT);
		if (n < 0)
			return -1;
		if (n == 0)
			continue;
		switch (event->type) {
		case ENET_EVENT_TYPE_CONNECT:
			server_welcome(s, event->peer);
			break;
		case ENET_EVENT_TYPE_RECEIVE:
			if (!echo)
				return 1;
			// The packet itself goes back, as reliable as it came: no copy is needed.
			if (enet_peer_send(event->peer, 0, event->packet) != 0)
				enet_packet_destroy(event->packet); // the peer has gone
			break;
		default:
			break;
		}
	}
	return 0;
}

void server_stop(server *s) { atomic_store(&s->stop, 1); }

void server_close(server *s) {
	if (s != NULL && s->host != NULL)
		enet_host_destroy(s->host);
	free(s);
}

enum {
	READY = 256,             // sockets looked at in a turn
	SWEEP = 100 * 1000 * 1000 // ns in which each connection is looked after, whatever happens
};

static int64_t monotonic(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

client *client_new(int connections, int channels) {
	client *c = calloc(1, sizeof *c);
	if (c == NULL)
		return NULL;
	c->connections = connections;
	c->channels = channels;
	c->failed = -1;
	c->epoll = epoll_create1(EPOLL_CLOEXEC);
	c->hosts = calloc(connections, sizeof *c->hosts);
	c->peers = calloc(connections, sizeof *c->peers);
	c->dirty = calloc(connections, sizeof *c->dirty);
	c->dirties = calloc(connections, sizeof *c->dirties);
	c->swept = monotonic();
	if (c->epoll < 0 || !c->hosts || !c->peers || !c->dirty || !c->dirties || enet_initialize() != 0) {
		client_close(c);
		return NULL;
	}
	return c;
}

static void soil(client *c, int k) {
	if (!c->dirty[k]) {
		c->dirty[k] = 1;
		c->dirties[c->dirtied++] = k;
	}
}

// client_open begins the next connection.
int client_open(client *c, uint32_t address, uint16_t port) {
	int k = c->opened;
	ENetAddress to = {.host = address, .port = port};
	ENetHost *host = enet_host_create(NULL, 1, c->channels, 0, 0);
	if (host == NULL)
		return -1;
	c->hosts[k] = host;
	c->opened++;
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = k};
	if ((c->peers[k] = enet_host_connect(host, &to, c->channels, 0)) == NULL ||
	    epoll_ctl(c->epoll, EPOLL_CTL_ADD, host->socket, &event) != 0)
		return -1;
	soil(c, k);
	return 0;
}

static int keep(client *c, uint32_t k, const ENetPacket *p) {
	uint32_t size = p->dataLength;
	if (c->size + 8 + size > c->room) {
		size_t room = 2 * (c->size + 8 + size);
		uint8_t *in = realloc(c->in, room);
		if (in == NULL)
			return -1;
		c->in = in;
		c->room = room;
	}
	memcpy(c->in + c->size, &k, 4);
	memcpy(c->in + c->size + 4, &size, 4);
	memcpy(c->in + c->size + 8, p->data, size);
	c->size += 8 + size;
	return 0;
}

// look receives, repeats what was lost, and sends what a window had no room for.
static int look(client *c, int k) {
	ENetEvent event;
	int n = enet_host_service(c->hosts[k], &event, 0);
	for (; n > 0; n = enet_host_check_events(c->hosts[k], &event)) {
		switch (event.type) {
		case ENET_EVENT_TYPE_CONNECT:
			enet_peer_ping_interval(event.peer, PING_INTERVAL);
			c->connected++;
			soil(c, k); // the server waits for an acknowledgement, which is not sent yet
			break;
		case ENET_EVENT_TYPE_DISCONNECT:
			c->failed = k;
			break;
		case ENET_EVENT_TYPE_RECEIVE: {
			int kept = keep(c, k, event.packet);
			enet_packet_destroy(event.packet);
			if (kept != 0)
				return -1;
			break;
		}
		default:
			break;
		}
	}
	return n;
}

// client_turn sends messages, in the form of c->in, waits for up to so many
// nanoseconds until something comes, and leaves it in c->in.
int client_turn(client *c, const uint8_t *out, size_t size, int64_t wait) {
	c->size = 0;
	while (size > 0) {
		uint32_t k, n;
		memcpy(&k, out, 4);
		memcpy(&n, out + 4, 4);
		int state = (n & UNRELIABLE) != 0;
		n &= ~UNRELIABLE;
		ENetPacket *p = enet_packet_create(out + 8, n, state ? ENET_PACKET_FLAG_UNRELIABLE_FRAGMENT : ENET_PACKET_FLAG_RELIABLE);
		if (p == NULL)
			return -1;
		if (enet_peer_send(c->peers[k], state, p) != 0) {
			enet_packet_destroy(p);
			c->failed = k;
		}
		soil(c, k);
		out += 8 + n;
		size -= 8 + n;
	}
	while (c->dirtied > 0) {
		int k = c->dirties[--c->dirtied];
		c->dirty[k] = 0;
		enet_host_flush(c->hosts[k]);
	}
	struct epoll_event ready[READY];
	int n = epoll_wait(c->epoll, ready, READY, 0);
	if (n == 0 && wait > 0) {
		struct pollfd any = {.fd = c->epoll, .events = POLLIN};
		struct timespec t = {.tv_sec = wait / 1000000000, .tv_nsec = wait % 1000000000};
		if (ppoll(&any, 1, &t, NULL) > 0)
			n = epoll_wait(c->epoll, ready, READY, 0);
	}
	for (int i = 0; i < n; i++)
		if (look(c, ready[i].data.u32) < 0)
			return -1;
	int64_t now = monotonic();
	int due = (now - c->swept) * c->opened / SWEEP;
	if (due > 0) {
		c->swept = now;
		for (int i = 0; i < due && i < c->opened; i++) {
			c->sweep = c->sweep + 1 < c->opened ? c->sweep + 1 : 0;
			if (look(c, c->sweep) < 0)
				return -1;
		}
	}
	return 0;
}

void client_close(client *c) {
	if (c == NULL)
		return;
	for (int k = 0; k < c->opened; k++) {
		if (c->peers[k] != NULL)
			enet_peer_disconnect_now(c->peers[k], 0);
		enet_host_destroy(c->hosts[k]);
	}
	if (c->epoll >= 0)
		close(c->epoll);
	free(c->hosts);
	free(c->peers);
	free(c->dirty);
	free(c->dirties);
	free(c->in);
	free(c);
}
