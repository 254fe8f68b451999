//go:build enet && cgo && linux

#define _GNU_SOURCE
#include "enet.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

// What room.Header says, and where.
enum { HELLO = 1, STATE, RELIABLE, HEADER = 32, PATTERNS = 16, STEP = 61 };

typedef struct {
	uint32_t number;
	uint64_t inputs;
} seat; // a peer's data, once it has said hello

static uint64_t get64(const uint8_t *p) {
	uint64_t v;
	memcpy(&v, p, 8);
	return v;
}

static int64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * (int64_t)1000000000 + t.tv_nsec;
}

// state makes what a member is told at a tick.
static ENetPacket *state(const room *r, const seat *to, uint64_t tick, int64_t now) {
	ENetPacket *p = enet_packet_create(NULL, r->state, ENET_PACKET_FLAG_UNRELIABLE_FRAGMENT);
	if (p == NULL)
		return NULL;
	uint64_t x = tick * 0x9e3779b97f4a7c15 ^ (uint64_t)now ^ (to->inputs + 1) * 0xc2b2ae3d27d4eb4f ^ ((uint64_t)to->number << 8 | STATE) * 0xa0761d6478bd642f;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93;
	uint32_t mark = (uint32_t)((x ^ x >> 29) >> 8) << 8 | STATE;
	memcpy(p->data, &to->number, 4);
	memcpy(p->data + 4, &mark, 4);
	memcpy(p->data + 8, &tick, 8);
	memcpy(p->data + 16, &now, 8);
	memcpy(p->data + 24, &to->inputs, 8);
	memcpy(p->data + HEADER, r->text + tick % PATTERNS * STEP, r->state - HEADER);
	return p;
}

static int give(ENetPeer *to, enet_uint8 channel, ENetPacket *p) {
	if (p == NULL)
		return -1;
	if (enet_peer_send(to, channel, p) != 0 && p->referenceCount == 0)
		enet_packet_destroy(p);
	return 0;
}

// told tells each member what has become of the world.
static int told(server *s, const room *r, uint64_t tick, int64_t now) {
	ENetHost *host = server_host(s);
	for (ENetPeer *p = host->peers; p < host->peers + host->peerCount; p++)
		if (p->state == ENET_PEER_STATE_CONNECTED && p->data != NULL && give(p, 1, state(r, p->data, tick, now)) != 0)
			return -1;
	enet_host_flush(host);
	return 0;
}

// relayed passes one packet on to all members but its sender: all share its bytes.
static int relayed(server *s, ENetPeer *from, ENetPacket *in, int kind) {
	ENetHost *host = server_host(s);
	ENetPacket *out = enet_packet_create(in->data, in->dataLength, kind == STATE ? ENET_PACKET_FLAG_UNRELIABLE_FRAGMENT : ENET_PACKET_FLAG_RELIABLE);
	if (out == NULL)
		return -1;
	for (ENetPeer *p = host->peers; p < host->peers + host->peerCount; p++)
		if (p != from && p->state == ENET_PEER_STATE_CONNECTED && p->data != NULL)
			enet_peer_send(p, kind == STATE, out);
	if (out->referenceCount == 0)
		enet_packet_destroy(out);
	return 0;
}

static int took(server *s, const room *r, ENetPeer *from, ENetPacket *in) {
	if (in->dataLength < HEADER)
		return 0;
	int kind = in->data[4];
	seat *m = from->data;
	if (kind == HELLO) {
		if (m == NULL && (from->data = m = calloc(1, sizeof *m)) == NULL)
			return -1;
		memcpy(&m->number, in->data, 4);
		return give(from, 0, enet_packet_create(in->data, in->dataLength, ENET_PACKET_FLAG_RELIABLE));
	}
	if (m == NULL)
		return 0;
	if (r->state == 0)
		return relayed(s, from, in, kind);
	m->inputs++;
	return 0;
}

// server_room serves until it is told to stop: 0, or -1 after an error.
int server_room(server *s, const room *r) {
	ENetEvent event;
	uint64_t tick = 0;
	int64_t next = now_ns();
	while (!server_stopped(s)) {
		enet_uint32 wait = 10; // ms, also how late a repetition may be if nothing else happens
		if (r->state > 0) {
			int64_t now = now_ns();
			if (now >= next) {
				next += r->tick;
				if (told(s, r, ++tick, now) != 0)
					return -1;
			}
			int64_t left = (next - now + 999999) / 1000000; // ENet waits in milliseconds
			wait = left < 10 ? left : 10;
		}
		int n = enet_host_service(server_host(s), &event, wait);
		if (n < 0)
			return -1;
		if (n == 0)
			continue;
		switch (event.type) {
		case ENET_EVENT_TYPE_CONNECT:
			event.peer->data = NULL;
			server_welcome(s, event.peer);
			break;
		case ENET_EVENT_TYPE_DISCONNECT:
			free(event.peer->data);
			event.peer->data = NULL;
			break;
		case ENET_EVENT_TYPE_RECEIVE:
			n = took(s, r, event.peer, event.packet);
			enet_packet_destroy(event.packet);
			if (n < 0)
				return -1;
			break;
		default:
			break;
		}
	}
	return 0;
}
