// Both ends of the peer enet, for enet_cgo.go.
#include <enet/enet.h>
#include <stdint.h>

// A server is one host with one thread.
typedef struct server server;

// server_open listens at an address (in network order) and a port that is free. It
// returns NULL if it cannot.
server *server_open(uint32_t address, uint16_t *port, int channels);
int server_next(server *s, int echo, ENetEvent *event);
int server_answer(ENetPeer *peer, const void *data, size_t size);
void server_stop(server *s); // from any thread
void server_close(server *s);

// A room is what server_room serves: a relay if there is no state.
typedef struct {
	uint32_t state; // bytes that each member is told at each tick
	int64_t tick;   // ns
	const uint8_t *text;
} room;

int server_room(server *s, const room *r);
ENetHost *server_host(server *s);
int server_stopped(server *s);
void server_welcome(server *s, ENetPeer *peer); // a peer that has connected

// A client is many hosts with one connection each, for one thread.
typedef struct {
	uint8_t *in; // what came: connection and size, 4 bytes each, and the message, again and again
	size_t size, room;
	int connected; // connections that are up
	int failed;    // one that is not any more, or -1

	int epoll, connections, opened, channels;
	ENetHost **hosts;
	ENetPeer **peers;
	uint8_t *dirty; // has something to be sent
	int *dirties, dirtied;
	int sweep; // the next to be looked after
	int64_t swept;
} client;

// Of a length that goes out: the message is a state, on the second channel.
#define UNRELIABLE 0x80000000u

client *client_new(int connections, int channels);
int client_open(client *c, uint32_t address, uint16_t port);
int client_turn(client *c, const uint8_t *out, size_t size, int64_t wait);
void client_close(client *c);
