# Many states, wandering states, states that are closed at an awkward moment.

test_200_states_on_8_threads() { run_host "${EAGER[@]}" "$(host many_states)" 200 8 "$(sized 1200 3)"; }
test_200_states_on_8_threads_by_default() { unpoisoned "the other one is the same then" && run_host "$(host many_states)" 200 8 1200; }
test_few_states_on_many_threads() { run_host "${EAGER[@]}" "$(host many_states)" 3 6 "$(sized 1500 3)"; }
test_closed_in_the_middle_of_a_purge() { run_host "${EAGER[@]}" "$(host close_states)" "$(sized 3000 3)" held; }
test_closed_by_default_settings() { unpoisoned "the other one is the same then" && run_host "$(host close_states)" 1000; }

test_one_processor_for_all() {
	need_command taskset
	run_host "${EAGER[@]}" taskset -c "$(taskset -cp $$ | sed 's/.*[:,-] *//')" "$(host many_states)" 20 4 600
}
