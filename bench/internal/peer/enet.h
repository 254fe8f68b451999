// Both ends of the peer enet, for enet_cgo.go.
#include <enet/enet.h>
#include <stdint.h>

// A server is one host with one thread.
typedef struct server server;

// server_open listens at an address (in network order) and a port that is free. It
// returns NULL if it cannot.
server *server_open(uint32_t address, uint16_t *port);
int server_next(server *s, int echo, ENetEvent *event);
int server_answer(ENetPeer *peer, const void *data, size_t size);
void server_stop(server *s); // from any thread
void server_close(server *s);

// A client is many hosts with one connection each, for one thread.
typedef struct {
	uint8_t *in; // what came: connection and size, 4 bytes each, and the message, again and again
	size_t size, room;
	int connected; // connections that are up
	int failed;    // one that is not any more, or -1

	int epoll, connections, opened;
	ENetHost **hosts;
	ENetPeer **peers;
	uint8_t *dirty; // has something to be sent
	int *dirties, dirtied;
	int sweep; // the next to be looked after
	int64_t swept;
} client;

client *client_new(int connections);
int client_open(client *c, uint32_t address, uint16_t port);
int client_turn(client *c, const uint8_t *out, size_t size, int64_t wait);
void client_close(client *c);
