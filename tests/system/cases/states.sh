# Many states, wandering states, states that are closed at an awkward moment.

test_200_states_on_8_threads() { run_host "${EAGER[@]}" "$(host many_states)" 200 8 1200; }
test_200_states_on_8_threads_by_default() { run_host "$(host many_states)" 200 8 1200; }
test_few_states_on_many_threads() { run_host "${EAGER[@]}" "$(host many_states)" 3 6 1500; }
test_poisoned_and_verified() { need_library && run_host "${POISONED[@]}" "$(host many_states)" 40 6 200; }
test_closed_in_the_middle_of_a_purge() { run_host "${EAGER[@]}" "$(host close_states)" 3000; }
test_closed_by_default_settings() { run_host "$(host close_states)" 1000; }

test_one_processor_for_all() {
	need_command taskset
	run_host "${EAGER[@]}" taskset -c "$(taskset -cp $$ | sed 's/.*[:,-] *//')" "$(host many_states)" 20 4 600
}
