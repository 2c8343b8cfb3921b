%% The two sides of the conversation that talk.rs describes, as processes of two Erlang nodes.
-module(ping).
-export([near/1, far/1]).

-define(COUNTED_EVERY, 1024).
-define(IN_FLIGHT_MAX, 16 * 1024).
-define(WARM_UP_ROUND_TRIPS, 500).
-define(ROUND_TRIPS_MAX, 10000).
-define(ROUND_TRIPS_NS, 3000000000).
-define(WARM_UP_NS, 500000000).
-define(COUNTED_NS, 2500000000).
-define(ANSWER_MS, 3000).
-define(GREETINGS_MAX, 150).
-define(PADDING, 0:448).

far([_Other]) ->
    register(far, self()),
    answer(0, 0).

answer(Count, First) ->
    receive
        {echo, From, Payload} ->
            From ! {echo, Payload},
            answer(Count, First);
        {count, From, _Payload} ->
            Now = now_ns(),
            Start = case Count of 0 -> Now; _ -> First end,
            Next = Count + 1,
            case Next rem ?COUNTED_EVERY of
                0 -> From ! {counted, Next, Now - Start};
                _ -> ok
            end,
            answer(Next, Start)
    end.

near([Other]) ->
    Far = {far, list_to_atom(Other)},
    try
        Greetings = greet(Far, 0),
        {_, First} = round_trips(Far, Greetings, ?WARM_UP_ROUND_TRIPS, now_ns(), []),
        {RoundTrips, _} = round_trips(Far, First, ?ROUND_TRIPS_MAX, now_ns(), []),
        {Received, Elapsed} = pour(Far, 0, 0, now_ns(), none),
        Numbers = lists:join(",", [integer_to_list(Ns) || Ns <- RoundTrips]),
        Line = "{\"round_trips_ns\":[~s],\"received\":~b,\"elapsed_ns\":~b}~n",
        io:format(Line, [Numbers, Received, Elapsed]),
        halt(0)
    catch
        _:Reason ->
            io:format("~p~n", [Reason]),
            halt(1)
    end.

%% Sends until something comes back, since the other node may not be up yet.
greet(_Far, ?GREETINGS_MAX) ->
    error("the far side did not answer");
greet(Far, Number) ->
    send(Far, echo, Number),
    receive
        {echo, _} -> Number + 1
    after 100 ->
        greet(Far, Number + 1)
    end.

round_trips(_Far, Number, 0, _Start, Taken) ->
    {Taken, Number};
round_trips(Far, Number, Left, Start, Taken) ->
    Before = now_ns(),
    send(Far, echo, Number),
    receive
        {echo, <<Number:64, _/binary>>} -> ok
    after ?ANSWER_MS ->
        error("messages were lost")
    end,
    After = now_ns(),
    case After - Start > ?ROUND_TRIPS_NS of
        true -> {[After - Before | Taken], Number + 1};
        false -> round_trips(Far, Number + 1, Left - 1, Start, [After - Before | Taken])
    end.

pour(Far, Number, Counted, Start, From) when Number < Counted + ?IN_FLIGHT_MAX ->
    send(Far, count, Number),
    pour(Far, Number + 1, Counted, Start, From);
pour(Far, Number, _Counted, Start, From) ->
    receive
        {counted, Count, Elapsed} ->
            WarmingUp = now_ns() - Start < ?WARM_UP_NS,
            case From of
                none when WarmingUp ->
                    pour(Far, Number, Count, Start, none);
                none ->
                    pour(Far, Number, Count, Start, {Count, Elapsed});
                {Count0, Elapsed0} when Elapsed - Elapsed0 > ?COUNTED_NS ->
                    {Count - Count0, Elapsed - Elapsed0};
                _ ->
                    pour(Far, Number, Count, Start, From)
            end
    after ?ANSWER_MS ->
        error("messages were lost")
    end.

send(Far, Kind, Number) ->
    Far ! {Kind, self(), <<Number:64, ?PADDING>>}.

now_ns() ->
    erlang:monotonic_time(nanosecond).
