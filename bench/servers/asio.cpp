// Boost.Asio: async_read_some and async_write, one io_context that is told that one thread runs it.
// Built twice: on epoll, and on io_uring. Messages from other threads come by post, for which the
// context has to keep its locks. A connection lives as long as an operation of it is under way.
#include <algorithm>
#include <atomic>
#include <boost/asio.hpp>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "inbox.h"
#include "senders.h"
#include "server.h"

namespace asio = boost::asio;
using asio::ip::tcp;
using bytes = std::shared_ptr<const std::vector<char>>;

namespace
{

class conn;
server_mode mode;
std::vector<conn *> members;
asio::io_context *the_context;

// Messages of other threads that are not yet written: no more than the others' queue takes.
std::atomic<uint32_t> posted;
constexpr uint32_t posted_max = 65536;

class conn : public std::enable_shared_from_this<conn>
{
  public:
    explicit conn(tcp::socket socket) : socket_(std::move(socket))
    {
        if (mode != SERVER_ECHO) members.push_back(this);
    }
    ~conn()
    {
        if (mode != SERVER_ECHO) members.erase(std::find(members.begin(), members.end(), this));
    }

    void read()
    {
        socket_.async_read_some(
            asio::buffer(data_), [self = shared_from_this()](auto err, auto len) {
                if (err) return;
                if (mode == SERVER_ECHO) return self->echo(len);
                inbox_take(&self->inbox_, self->data_, len, fan_out, self.get());
                self->read();
            });
    }

    void send(bytes message)
    {
        queue_.push_back(std::move(message));
        if (!writing_) write();
    }

  private:
    void echo(std::size_t len)
    {
        asio::async_write(socket_, asio::buffer(data_, len),
                          [self = shared_from_this()](auto err, auto) {
                              if (!err) self->read();
                          });
    }

    // All that waits in one operation: a completion has to wait for its turn behind every handler
    // that was posted meanwhile.
    void write()
    {
        std::vector<asio::const_buffer> buffers;
        for (const bytes &one : queue_) buffers.push_back(asio::buffer(*one));
        writing_ = static_cast<uint32_t>(queue_.size());
        asio::async_write(socket_, buffers, [self = shared_from_this()](auto err, auto) {
            auto begin = self->queue_.begin();
            self->queue_.erase(begin, begin + static_cast<std::ptrdiff_t>(self->writing_));
            if (mode == SERVER_THREADS) posted.fetch_sub(self->writing_);
            self->writing_ = 0;
            if (!err && !self->queue_.empty()) self->write();
        });
    }

    static void fan_out(void *from, const char *messages, uint64_t len)
    {
        auto message = std::make_shared<const std::vector<char>>(messages, messages + len);
        for (conn *one : members)
            if (one != from) one->send(message);
    }

    tcp::socket socket_;
    std::deque<bytes> queue_;
    uint32_t writing_ = 0; // of the queue, from its front
    inbox inbox_{};
    char data_[SERVER_READ_BYTES];
};

void accept(tcp::acceptor &acceptor)
{
    acceptor.async_accept([&acceptor](auto err, tcp::socket socket) {
        if (!err) {
            std::make_shared<conn>(std::move(socket))->read();
            if (mode == SERVER_THREADS) senders_add(members.size() - 1);
        }
        accept(acceptor);
    });
}

senders_answer push(void *, uint64_t id, const void *message)
{
    if (posted.fetch_add(1) >= posted_max) {
        posted.fetch_sub(1);
        return SENDERS_FULL;
    }
    auto *begin = static_cast<const char *>(message);
    auto copy = std::make_shared<const std::vector<char>>(begin, begin + SERVER_MESSAGE_BYTES);
    asio::post(*the_context, [id, copy = std::move(copy)] {
        if (id < members.size())
            members[id]->send(copy);
        else
            posted.fetch_sub(1);
    });
    return SENDERS_TAKEN;
}

} // namespace

int main(int argc, char **argv)
{
    auto options = server_options_read(argc, argv, SERVER_ECHO | SERVER_FANOUT | SERVER_THREADS);
    mode = options.mode;
    asio::io_context context(mode == SERVER_THREADS ? 1 : BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
    the_context = &context;
    int fd = server_listen(options.port);
    tcp::acceptor acceptor(context, tcp::v4(), fd);
    accept(acceptor);
    if (mode == SERVER_THREADS) senders_start(push, nullptr);
    server_ready(server_port(fd));
    context.run();
}
