// `--plot`: hit rate over capacity, drawn by gnuplot.
module;

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

module kvbm.tool;

import kvbm.core;

namespace kvbm::tool {
namespace {

using File = std::unique_ptr<std::FILE, decltype([](std::FILE* file) { std::fclose(file); })>;

/// Text as gnuplot reads it between single quotes.
std::string quoted(std::string_view text) {
    std::string result = "'";
    for (const char c : text) {
        result += c == '\'' ? "''" : std::string(1, c);
    }
    return result + "'";
}

/// The policies of the runs, each once, in order.
std::vector<ReplayPolicy> policies_of(std::span<const ReplayRun> runs) {
    std::vector<ReplayPolicy> policies;
    for (const ReplayRun& run : runs) {
        if (std::ranges::find(policies, run.policy) == policies.end()) {
            policies.push_back(run.policy);
        }
    }
    return policies;
}

std::string script(const std::string& output, std::span<const ReplayRun> runs,
                   std::string_view title) {
    std::string text = fmt::format(
        "set terminal svg noenhanced size 900,560 font 'sans,14' background rgb 'white'\n"
        "set output {}\n"
        "set title {}\n"
        "set xlabel 'capacity (blocks)'\n"
        "set ylabel 'block hit rate'\n"
        "set logscale x\n"
        "set yrange [0:*]\n"
        "set format y '%.2f'\n"
        "set key left top\n"
        "set grid\n",
        quoted(output), quoted(title));
    std::string plots;
    for (const ReplayPolicy policy : policies_of(runs)) {
        const std::string_view name = to_string(policy);
        text += fmt::format("${} << END\n", name);
        for (const ReplayRun& run : runs) {
            if (run.policy == policy) {
                // Without a limit the cache is as large as what it holds in the end.
                text += fmt::format("{} {}\n", run.capacity.value_or(run.resident),
                                    run.block_hit_rate());
            }
        }
        text += "END\n";
        plots += fmt::format("{}${} using 1:2 with linespoints linewidth 2 pointtype 7 title {}",
                             plots.empty() ? "plot " : ", ", name, quoted(name));
    }
    return text + plots + '\n';
}

std::string content_of(std::FILE* file) {
    std::string text;
    std::rewind(file);
    char buffer[4096];
    while (const std::size_t count = std::fread(buffer, 1, sizeof buffer, file)) {
        text.append(buffer, count);
    }
    return text;
}

Failure no_gnuplot(int error) {
    return {ExitCode::failed,
            error == ENOENT ? std::string("--plot needs gnuplot, which was not found: install it "
                                          "(Debian: apt-get install gnuplot-nox)")
                            : fmt::format("--plot: gnuplot: {}", std::strerror(error))};
}

/// Runs gnuplot with the script as its standard input.
Result<void, Failure> run_gnuplot(std::string_view commands) {
    const File input(std::tmpfile());
    const File complaints(std::tmpfile());
    if (!input || !complaints ||
        std::fwrite(commands.data(), 1, commands.size(), input.get()) != commands.size() ||
        std::fflush(input.get()) != 0) {
        return failure(Failure{ExitCode::failed,
                               fmt::format("--plot: temporary file: {}", std::strerror(errno))});
    }
    std::rewind(input.get());

    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ::fileno(input.get()), STDIN_FILENO);
    ::posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions, ::fileno(complaints.get()), STDERR_FILENO);
    std::string name = "gnuplot";
    std::string settings = "-d";
    char* arguments[] = {name.data(), settings.data(), nullptr};
    ::pid_t child = 0;
    const int error = ::posix_spawnp(&child, "gnuplot", &actions, nullptr, arguments, ::environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        return failure(no_gnuplot(error));
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return failure(Failure{ExitCode::failed, fmt::format("--plot: gnuplot failed: {}",
                                                             content_of(complaints.get()))});
    }
    return {};
}

}  // namespace

Result<void, Failure> draw(const std::string& path, std::span<const ReplayRun> runs,
                           std::string_view title) {
    auto drawing = TemporaryFile::beside(path);
    if (!drawing) {
        return failure(drawing.error());
    }
    if (auto drawn = run_gnuplot(script(drawing->path(), runs, title)); !drawn) {
        return drawn;
    }
    return drawing->commit();
}

}  // namespace kvbm::tool
