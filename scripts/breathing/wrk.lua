-- wrk's part in the demo: pages of random users; one line of figures at the end.
-- requests, seconds, latency p50 p99 p99.9 in microseconds, errors

function init()
    math.randomseed(1)
end

function request()
    return wrk.format("GET", "/page?id=" .. math.random(1, 1000000))
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format("figures %d %.6f %.0f %.0f %.0f %d\n", summary.requests, summary.duration / 1e6,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
        e.connect + e.read + e.write + e.status + e.timeout))
end
